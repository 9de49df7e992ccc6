"""Crops of images, and the way back: maps that show where in the images a concept is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from xcore.contract import Samples, UsageError
from xcore.models.presence import maps_from_positions as maps_from_positions

Crop = tuple[int, int]
"""A crop: the index of its image, and the index of its corner in `CropGrid.corners`."""

CROP_BATCH = 64
"""How many crops are cut and resized at once."""


@dataclass(frozen=True)
class CropGrid:
    """The positions at which crops are cut. All crops have the same size and the aspect ratio of the image."""

    size: tuple[int, int]
    """Height and width of the image in pixels."""
    window: tuple[int, int]
    """Height and width of a crop in pixels."""
    corners: tuple[tuple[int, int], ...]
    """(top, left) of each crop in pixels, row by row."""

    @property
    def render(self) -> str:
        """How crops are rendered, for `Concept.render`: ``crop:SIDE>SIZE``, as ``crop:32>64`` or ``crop:32>64x96``.

        SIDE is the short side of a crop in pixels. SIZE is what crops are resized to (bilinearly): one number for a
        square, HEIGHTxWIDTH otherwise.
        """
        height, width = self.size
        return f"crop:{min(self.window)}>{height}" + ("" if height == width else f"x{width}")

    def all_crops(self, n: int) -> list[Crop]:
        """Every crop of each of n images, image by image."""
        return [(image, corner) for image in range(n) for corner in range(len(self.corners))]


def crop_grid(size: tuple[int, int], side: int | None = None, stride: float = 0.8) -> CropGrid:
    """Where to cut crops so that together they cover every pixel of an image.

    Parameters
    ----------
    size
        (H, W) of the image in pixels.
    side
        Short side of a crop in pixels; None means half the short side of the image. The long side follows from the
        aspect ratio of the image, so that resizing a crop to the image's size distorts nothing.
    stride
        Distance between neighbouring crops as a fraction of the crop size, in (0, 1].

    Raises
    ------
    UsageError
        If the crop is larger than the image.
    """
    short = min(size)
    side = max(1, short // 2) if side is None else side
    if side > short:
        raise UsageError(
            f"a crop of {side} pixels does not fit into images of {size[0]}x{size[1]} pixels",
            f"set the option crop to at most {short}",
        )
    window = (round(size[0] * side / short), round(size[1] * side / short))
    tops, lefts = (_window_starts(size[d], window[d], max(1, int(stride * window[d]))) for d in (0, 1))
    return CropGrid(size, window, tuple((top, left) for top in tops for left in lefts))


def _window_starts(length: int, window: int, step: int) -> list[int]:
    """Where windows start along one side. The last window ends at the edge, so that no pixel is left out."""
    regular = list(range(0, length - window + 1, step))
    return regular if regular[-1] == length - window else [*regular, length - window]


def cut_crops(images: Tensor, grid: CropGrid, crops: Sequence[Crop]) -> Tensor:
    """Cut crops and resize each bilinearly to the size of the image.

    Parameters
    ----------
    images
        (N, 3, H, W) in [0, 1].
    crops
        Which crops to cut.

    Returns
    -------
    (len(crops), 3, H, W) in [0, 1]
    """
    height, width = grid.window
    patches = []
    for image, corner in crops:
        top, left = grid.corners[corner]
        patches.append(images[image, :, top : top + height, left : left + width])
    return interpolate(torch.stack(patches), size=grid.size, mode="bilinear", align_corners=False).clamp_(0, 1)


def crop_batches(samples: Samples, grid: CropGrid, crops: Sequence[Crop]) -> Iterator[Samples]:
    """The crops as samples, `CROP_BATCH` at a time, to be passed through a network."""
    for start in range(0, len(crops), CROP_BATCH):
        batch = crops[start : start + CROP_BATCH]
        ids = tuple(f"{samples.ids[image]}#{corner}" for image, corner in batch)
        yield Samples("image", cut_crops(samples.images, grid, batch), ids)


def top_crops(values: NDArray[np.floating], crops: Sequence[Crop], count: int, per_image: int) -> list[Crop]:
    """The crops with the largest values, in descending order; of equal values the first.

    Parameters
    ----------
    values
        (n,) one value for each crop; crops with a value of zero or less are never taken.
    crops
        The n crops.
    count
        How many crops to take at most.
    per_image
        How many crops to take from the same image at most.
    """
    taken, best = dict[int, int](), list[Crop]()
    for i in np.argsort(-values, kind="stable"):
        crop = crops[i]
        if values[i] <= 0 or len(best) == count:
            break
        if taken.get(crop[0], 0) < per_image:
            taken[crop[0]] = taken.get(crop[0], 0) + 1
            best.append(crop)
    return best


def exemplar_samples(samples: Samples, grid: CropGrid, crops: Sequence[Crop]) -> Samples | None:
    """The crops that illustrate a concept, for `Concept.samples`; None if there are none.

    The id of a crop is ``IMAGE#cropTOP,LEFT``.
    """
    if not crops:
        return None
    ids = tuple("{}#crop{},{}".format(samples.ids[image], *grid.corners[corner]) for image, corner in crops)
    return Samples("image", cut_crops(samples.images, grid, crops).cpu(), ids)


def maps_from_crops(codes: Tensor, grid: CropGrid) -> Tensor:
    """Concept maps of a layer without positions: at each pixel the mean code of the crops that cover it.

    Parameters
    ----------
    codes
        (N, crops, k) >= 0.

    Returns
    -------
    (k, N, H, W) >= 0
    """
    n, _, k = codes.shape
    total, count = torch.zeros(k, n, *grid.size), torch.zeros(grid.size)
    height, width = grid.window
    for corner, (top, left) in enumerate(grid.corners):
        total[:, :, top : top + height, left : left + width] += codes[:, corner].T[:, :, None, None]
        count[top : top + height, left : left + width] += 1
    return total / count
