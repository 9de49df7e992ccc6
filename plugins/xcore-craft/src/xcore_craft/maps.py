"""Where a concept is: codes at positions, brought to the size of the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xcore_craft.crops import Grid

EXTRA_TOKENS = 8
"""Class, distillation and register tokens come before the patches; no network in use has more of them."""


def token_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int, int] | None:
    """(extra tokens in front, rows, columns) of tokens on a grid of the image's aspect ratio; None if none fits."""
    height, width = size
    for extra in range(min(EXTRA_TOKENS, tokens)):
        rows = round(((tokens - extra) * height / width) ** 0.5)
        if rows and (tokens - extra) % rows == 0:
            columns = (tokens - extra) // rows
            if rows * width == columns * height and rows * columns > 1:
                return extra, rows, columns
    return None


def upsample(codes: Tensor, shape: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Codes on a grid of positions, enlarged bilinearly.

    Parameters
    ----------
    codes
        (N, rows * columns, k) >= 0.
    shape
        (rows, columns).
    size
        (H, W) of the image.

    Returns
    -------
    (k, N, H, W) >= 0
    """
    n, _, k = codes.shape
    small = codes.permute(2, 0, 1).reshape(k, n, *shape)
    return interpolate(small, size=size, mode="bilinear", align_corners=False)


def from_crops(codes: Tensor, grid: Grid) -> Tensor:
    """Maps for a layer without positions: at each pixel the mean code of the crops that cover it.

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
    for box, (top, left) in enumerate(grid.corners):
        total[:, :, top : top + height, left : left + width] += codes[:, box].T[:, :, None, None]
        count[top : top + height, left : left + width] += 1
    return total / count
