"""Pictures as a helper model's own processor prepares them: the whole picture at the model's size, normalised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.errors import MissingError, UsageError
from xcore.hub import read_json

FILES = ("preprocessor_config.json", "processor_config.json")
"""What `save_pretrained` writes: an image processor's own file, or that of a whole processor (transformers 5)."""

MODES = {2: "bilinear", 3: "bicubic"}
"""Names in torch of the resampling filters of Pillow."""


class Processor:
    """Size and normalisation of images for a model of square inputs.

    Parameters
    ----------
    mean, std
        Of the channels, (3,).
    size
        Side of the model's input in pixels.
    batch
        Images at a time.
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
        """What the processor's file in a model's directory says.

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
                f"model directory {str(folder)!r} lacks {FILES[0]}", "the processor's save_pretrained writes it"
            )
        whole = read_json(path)
        read = whole.get("image_processor", whole)
        try:
            mean, std = read["image_mean"], read["image_std"]
        except KeyError as error:
            raise UsageError(f"{path} has no {error}") from error
        if (resample := read.get("resample", 3)) not in MODES:
            raise UsageError(f"{path} has resample = {resample!r}", "2 is bilinear, 3 bicubic")
        return cls(mean, std, size, batch, MODES[resample])

    def batches(self, images: Tensor, device: torch.device) -> Iterator[Tensor]:
        """Batches (b, 3, size, size) on a device of images (n, 3, H, W) in [0, 1]."""
        for x in images.split(self.batch):
            if x.shape[-2:] != self._size:
                x = F.interpolate(x, self._size, mode=self._mode, antialias=True, align_corners=False).clamp(0, 1)
            yield ((x - self._mean) / self._std).to(device)
