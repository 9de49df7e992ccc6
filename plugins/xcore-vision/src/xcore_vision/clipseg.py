"""CLIPSeg as a localiser: where a few example images' content is in other images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore import device
from xcore.errors import UsageError
from xcore.hub import model_directory
from xcore.samples import Samples

if TYPE_CHECKING:
    from xcore_vision.options import ClipSegOptions

NEEDS = ("config.json", "preprocessor_config.json")


class ClipSeg:
    """A `CLIPSegForImageSegmentation` of transformers, prompted by images.

    The conditional embeddings of the examples are averaged, so one pass over the images serves all examples.

    References
    ----------
    Lueddecke and Ecker: Image Segmentation Using Text and Image Prompts, CVPR 2022.
    """

    def __init__(self, options: ClipSegOptions, argument: str) -> None:
        from transformers import AutoConfig, CLIPSegForImageSegmentation

        folder = model_directory(argument, NEEDS)
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind != "clipseg":
            raise UsageError(
                f"{argument!r} holds a model of type {kind!r}, not clipseg", "for example CIDAS/clipseg-rd64-refined"
            )
        self.name = f"clipseg:{argument}"
        self._device = torch.device(options.device or device.current())
        self._model: Any = CLIPSegForImageSegmentation.from_pretrained(folder, use_safetensors=True)
        self._model.eval().requires_grad_(False).to(self._device)
        self._size = int(self._model.config.vision_config.image_size)
        self._batch = options.batch_size
        self._mean, self._std = _statistics(folder)

    def locate(self, images: Samples, examples: Samples) -> Tensor:
        """(n, H, W) probability of every pixel of `images` to show what the examples show."""
        with torch.no_grad():
            conditions = [
                self._model.get_conditional_embeddings(len(x), conditional_pixel_values=x)
                for x in self._prepared(examples)
            ]
            condition = torch.cat(conditions).mean(0, keepdim=True)
            maps = []
            for x in self._prepared(images):
                logits = self._model(pixel_values=x, conditional_embeddings=condition.expand(len(x), -1)).logits
                maps.append(torch.sigmoid(logits.reshape(len(x), 1, *logits.shape[-2:])).float().cpu())
        size = images.images.shape[-2:]
        return F.interpolate(torch.cat(maps), size=size, mode="bilinear", align_corners=False)[:, 0]

    def _prepared(self, samples: Samples) -> list[Tensor]:
        """Batches at the model's size, normalised as its processor does."""
        size = (self._size, self._size)
        made = []
        for x in samples.images.split(self._batch):
            if x.shape[-2:] != size:
                x = F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            made.append(((x - self._mean) / self._std).to(self._device))
        return made


def _statistics(folder: Path) -> tuple[Tensor, Tensor]:
    read = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    try:
        mean, std = (torch.tensor(read[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    except KeyError as error:
        raise UsageError(f"{folder / 'preprocessor_config.json'} has no {error}") from error
    return mean, std
