"""CLIPSeg as a localiser: where a few example images' content is in other images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore import device
from xcore.errors import UsageError
from xcore.hub import model_directory
from xcore.samples import Samples
from xcore_vision.processor import Processor

if TYPE_CHECKING:
    from xcore_vision.options import ClipSegOptions


class ClipSeg:
    """A `CLIPSegForImageSegmentation` of transformers, prompted by images.

    The conditional embeddings of the examples are averaged, so one pass over the images serves all examples.

    References
    ----------
    Lueddecke and Ecker: Image Segmentation Using Text and Image Prompts, CVPR 2022.
    """

    def __init__(self, options: ClipSegOptions, argument: str) -> None:
        from transformers import AutoConfig, CLIPSegForImageSegmentation

        folder = model_directory(argument)
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind != "clipseg":
            raise UsageError(
                f"{argument!r} holds a model of type {kind!r}, not clipseg", "for example CIDAS/clipseg-rd64-refined"
            )
        self.name = f"clipseg:{argument}"
        self._device = torch.device(options.device or device.current())
        self._model: Any = CLIPSegForImageSegmentation.from_pretrained(folder, use_safetensors=True)
        self._model.eval().requires_grad_(False).to(self._device)
        size = int(self._model.config.vision_config.image_size)
        self._processor = Processor.of(folder, size, options.batch_size)

    def locate(self, images: Samples, examples: Samples) -> Tensor:
        """(n, H, W) probability of every pixel of `images` to show what the examples show."""
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
