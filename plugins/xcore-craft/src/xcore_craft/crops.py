"""Crops that cover every pixel, at any aspect ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xcore.errors import UsageError


@dataclass(frozen=True)
class Grid:
    """Where crops are cut: windows of one size, with the aspect ratio of the image."""

    size: tuple[int, int]
    """Height and width of the image."""
    window: tuple[int, int]
    """Height and width of a crop."""
    corners: tuple[tuple[int, int], ...]
    """(top, left) of each crop, row by row."""

    @property
    def render(self) -> str:
        """How crops are rendered, for `Concept.render`: ``crop:SIDE>SIZE``, as ``crop:32>64`` or ``crop:32>64x96``.

        SIDE is the short side of the window in pixels; SIZE, to which the window is resized bilinearly, is one number
        for a square and HEIGHTxWIDTH otherwise. The window has the aspect ratio of SIZE.
        """
        height, width = self.size
        return f"crop:{min(self.window)}>{height}" + ("" if height == width else f"x{width}")


def starts(length: int, window: int, step: int) -> list[int]:
    """First pixels of windows along one side; the last window ends at the edge, so that nothing is lost."""
    regular = list(range(0, length - window + 1, step))
    return regular if regular[-1] == length - window else [*regular, length - window]


def grid(size: tuple[int, int], side: int | None = None, stride: float = 0.8) -> Grid:
    """The crops of an image.

    Parameters
    ----------
    size
        (H, W) of the image in pixels.
    side
        Short side of a crop in pixels; None = half the short side of the image. The long side follows the aspect
        ratio of the image, so that enlarging a crop distorts nothing.
    stride
        Step between crops as a share of the window, in (0, 1].

    Raises
    ------
    UsageError
        If the crop is larger than the image.
    """
    short = min(size)
    side = max(1, short // 2) if side is None else side
    if side > short:
        raise UsageError(f"a crop of {side} pixels does not fit images of {size[0]}x{size[1]}", "set a smaller crop")
    window = (round(size[0] * side / short), round(size[1] * side / short))
    tops, lefts = (starts(size[d], window[d], max(1, int(stride * window[d]))) for d in (0, 1))
    return Grid(size, window, tuple((t, x) for t in tops for x in lefts))


def cut(images: Tensor, grid: Grid, picks: Sequence[tuple[int, int]]) -> Tensor:
    """Crops, each resized bilinearly to the size of the image and kept in [0, 1].

    Parameters
    ----------
    images
        (N, 3, H, W).
    picks
        (image, crop of the grid) for each crop.

    Returns
    -------
    (len(picks), 3, H, W)
    """
    height, width = grid.window
    patches = []
    for image, box in picks:
        top, left = grid.corners[box]
        patches.append(images[image, :, top : top + height, left : left + width])
    return interpolate(torch.stack(patches), size=grid.size, mode="bilinear", align_corners=False).clamp(0, 1)
