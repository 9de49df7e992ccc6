"""Images prepared for a helper model as its own processor does: the whole image resized to its input, normalised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import MissingError, UsageError
from xcore.pretrained.hub import read_json

FILES = ("preprocessor_config.json", "processor_config.json")
"""The files that `save_pretrained` writes: for an image processor, or (transformers 5) for a whole processor."""

MODES = {2: "bilinear", 3: "bicubic"}
"""Resampling filters of Pillow, and their names in torch."""


class Processor:
    """Size and normalisation of images for a model of square inputs.

    Parameters
    ----------
    mean, std
        Mean and standard deviation of the three channels, for images in [0, 1].
    size
        Side of the model's input in pixels.
    batch
        Images in a batch.
    mode
        How images of other sizes are resized: "bilinear" or "bicubic".
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], size: int, batch: int, mode: str = "bicubic"
    ) -> None:
        self._mean, self._std = (torch.tensor(v).view(1, 3, 1, 1) for v in (mean, std))
        self._size, self.batch, self._mode = (size, size), batch, mode

    @classmethod
    def of(cls, folder: Path, size: int, batch: int) -> Processor:
        """The processor that the file in a model's directory describes.

        Raises
        ------
        MissingError
            There is no such file.
        UsageError
            The file has no mean or no standard deviation, or names another filter than bilinear and bicubic.
        """
        path = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if path is None:
            raise MissingError(
                f"model directory {str(folder)!r} lacks {FILES[0]}", "save_pretrained of the processor writes it"
            )
        whole = read_json(path)
        read = whole.get("image_processor", whole)
        try:
            mean, std = read["image_mean"], read["image_std"]
        except KeyError as error:
            raise UsageError(
                f"{path} has no {error}", "write it again with save_pretrained of the processor"
            ) from error
        if (resample := read.get("resample", 3)) not in MODES:
            raise UsageError(
                f"{path} has resample = {resample!r}, which is not supported", "set it to 2 (bilinear) or 3 (bicubic)"
            )
        return cls(mean, std, size, batch, MODES[resample])

    def batches(self, images: Tensor, device: torch.device) -> Iterator[Tensor]:
        """Prepare images (n, 3, H, W) in [0, 1]; yields batches (b, 3, size, size) on the device."""
        for x in images.split(self.batch):
            if x.shape[-2:] != self._size:
                x = F.interpolate(x, self._size, mode=self._mode, antialias=True, align_corners=False).clamp(0, 1)
            yield ((x - self._mean) / self._std).to(device)
