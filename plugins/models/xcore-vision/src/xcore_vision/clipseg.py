"""``clipseg:MODEL``: CLIPSeg as a localiser, which finds in images what a few example images show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import Samples, UsageError
from xcore.models import device
from xcore.pretrained.hub import model_directory
from xcore_vision.processor import Processor

if TYPE_CHECKING:
    from xcore_vision.options import ClipSegOptions


class ClipSeg:
    """Role ``localiser``: a `CLIPSegForImageSegmentation` of transformers that is prompted with images.

    The conditional embeddings of the examples are averaged, so one pass over the images serves all examples.

    Parameters
    ----------
    options
        Device and batch size.
    argument
        A model directory, or ORG/MODEL on the Hub.

    Raises
    ------
    MissingError
        There is no such model, or it has no processor.
    UsageError
        The directory holds another kind of model.

    References
    ----------
    Lueddecke and Ecker: Image Segmentation Using Text and Image Prompts, CVPR 2022.
    """

    def __init__(self, options: ClipSegOptions, argument: str) -> None:
        from transformers import AutoConfig, CLIPSegForImageSegmentation

        folder = model_directory(argument)
        kind = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
        if kind != "clipseg":
            raise UsageError(
                f"{argument!r} holds a model of type {kind!r}, not clipseg",
                "name a CLIPSeg model, for example CIDAS/clipseg-rd64-refined",
            )
        self.name = f"clipseg:{argument}"
        self._device = torch.device(options.device or device.current())
        self._model: Any = CLIPSegForImageSegmentation.from_pretrained(folder, use_safetensors=True)
        self._model.eval().requires_grad_(False).to(self._device)
        size = int(self._model.config.vision_config.image_size)
        self._processor = Processor.of(folder, size, options.batch_size)

    def locate(self, images: Samples, examples: Samples) -> Tensor:
        """Probability (n, H, W) that a pixel of `images` shows what the examples show."""
        with torch.no_grad():
            conditions = [
                self._model.get_conditional_embeddings(len(x), conditional_pixel_values=x)
                for x in self._processor.batches(examples.images, self._device)
            ]
            condition = torch.cat(conditions).mean(0, keepdim=True)
            maps = []
            for x in self._processor.batches(images.images, self._device):
                logits = self._model(pixel_values=x, conditional_embeddings=condition.expand(len(x), -1)).logits
                maps.append(torch.sigmoid(logits.reshape(len(x), 1, *logits.shape[-2:])).float().cpu())
        size = images.images.shape[-2:]
        return F.interpolate(torch.cat(maps), size=size, mode="bilinear", align_corners=False)[:, 0]
