"""Pictures as a helper model's own processor prepares them: the whole picture at the model's size, normalised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.errors import UsageError
from xcore.hub import read_json

FILE = "preprocessor_config.json"


class Processor:
    """What ``preprocessor_config.json`` says of normalisation, for a model of square inputs.

    Parameters
    ----------
    folder
        The model's directory.
    size
        Side of the model's input in pixels.
    batch
        Images at a time.

    Raises
    ------
    UsageError
        The file has no mean or no standard deviation.
    """

    def __init__(self, folder: Path, size: int, batch: int, device: torch.device) -> None:
        read = read_json(folder / FILE)
        try:
            mean, std = (torch.tensor(read[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
        except KeyError as error:
            raise UsageError(f"{folder / FILE} has no {error}") from error
        self._mean, self._std, self._size = mean, std, (size, size)
        self.batch, self._device = batch, device

    def batches(self, images: Tensor) -> Iterator[Tensor]:
        """Batches (b, 3, size, size) on the model's device of images (n, 3, H, W) in [0, 1]."""
        for x in images.split(self.batch):
            if x.shape[-2:] != self._size:
                x = F.interpolate(x, self._size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            yield ((x - self._mean) / self._std).to(self._device)
