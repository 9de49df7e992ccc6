"""Images prepared for a helper model as its own processor does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import MissingError, UsageError
from xcore.pretrained.hub import quiet, read_json
from xcore_vision.directories import PROCESSORS

MODES = {2: "bilinear", 3: "bicubic"}
"""Resampling filters of Pillow, and their names in torch."""


def load_image_processor(folder: Path) -> Any:
    """The image processor of transformers in a model's directory, which resizes by Pillow where it can.

    The models were trained and published with Pillow's filters. Those of torchvision, which transformers 5 takes unless
    it is told otherwise, give slightly different pixels.

    Raises
    ------
    UsageError
        None can be read.
    """
    from transformers import AutoImageProcessor, __version__

    how: dict[str, Any] = {"use_fast": False} if __version__.startswith("4.") else {"backend": "pil"}
    how |= {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet("transformers"):
            return AutoImageProcessor.from_pretrained(folder, **how)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"no image processor can be read from {str(folder)!r}: {reason}") from error


def pixels_of(images: Tensor) -> Tensor:
    """Images in [0, 1] as pixels of 8 bits, which is how the processors of published models read pictures."""
    return images.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8)


class OwnProcessor:
    """What an image processor of transformers makes of images, whatever it does: as if they were read from files.

    Parameters
    ----------
    processor
        The image processor of transformers.
    batch
        Images in a batch.
    """

    def __init__(self, processor: Any, batch: int) -> None:
        self._processor, self._batch = processor, batch

    def batches(self, images: Tensor, device: torch.device) -> Iterator[dict[str, Tensor]]:
        """Prepare images (n, 3, H, W) in [0, 1]; yields the keyword arguments of the model, batch by batch."""
        for x in pixels_of(images).split(self._batch):
            made = self._processor(images=list(x), return_tensors="pt", input_data_format="channels_first")
            yield {name: tensor.to(device) for name, tensor in made.items()}


class Processor:
    """The whole image resized to the input of a model of square inputs, and normalised.

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
        path = next((folder / name for name in PROCESSORS if (folder / name).is_file()), None)
        if path is None:
            raise MissingError(
                f"model directory {str(folder)!r} lacks {PROCESSORS[0]}", "save_pretrained of the processor writes it"
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
