"""Finds copies of pictures: the same file again, saved anew in another format or quality, or resized.

A picture is described by its brightness on a grid of 8 x 8, and by its mean colours on a grid of 2 x 2. Two pictures
are the same if what differs between their brightness patterns is a small part of what varies in them, and their colours
are alike. Pictures without a pattern, such as plain colours, are the same only if nothing differs at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from xcore.inputs.images import MAX_PIXELS, Picture, as_rgb, opened

GRID = 8
"""Cells a side of the grid of brightness."""
FINE = 32
"""Side in pixels to which a picture is resized first: the means over its blocks have no rounding errors to speak of."""
RESIDUAL = 0.025
"""Most of the variance of a brightness pattern that may differ between two copies. Chosen on half of 785 drawings and
photographs, between .021, the worst copy of every sixth of them (saved as JPEG of quality 30 to 95 or WebP, resized to
25 to 150 %, or both), and .033, the nearest two different ones; `benchmarks/copies.py` measures it on others."""
COLOURS = 10.0
"""Largest difference of a mean colour between two copies, in levels of 255; the same copies differ by up to 9."""
PLAIN = 0.4
"""Standard deviation of the brightness, in levels, under which a picture has no pattern."""
CELLS = GRID * GRID + 12
"""Numbers of a description."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
Array = NDArray[Any]


def description(picture: Picture, max_pixels: int = MAX_PIXELS) -> Array:
    """The description of a picture: float16 (76,), brightness of 8 x 8 cells, then colours of 2 x 2, in levels of 255.

    Raises
    ------
    Unreadable
        It is no picture, or has too many pixels.
    """
    with opened(picture, max_pixels) as image:
        if image.format == "JPEG":
            image.draft("RGB", (4 * FINE, 4 * FINE))  # decodes a large photograph at a fraction of its size
        small = as_rgb(ImageOps.exif_transpose(image)).resize((FINE, FINE), Image.Resampling.BILINEAR)
    pixels = np.asarray(small, dtype=np.float32)
    luma = _blocks((pixels @ _LUMA)[..., None], GRID)
    return np.concatenate([luma.ravel(), _blocks(pixels, 2).ravel()]).astype(np.float16)


def _blocks(pixels: Array, n: int) -> Array:
    side = FINE // n
    means: Array = pixels.reshape(n, side, n, side, -1).mean((1, 3))
    return means


def groups(described: Array) -> Array:
    """Which pictures are the same: (n,) the smallest index among those that are the same as each.

    Parameters
    ----------
    described
        (n, 76), as `description` gives them.
    """
    values = described.astype(np.float32)
    n, cells = len(values), GRID * GRID
    pattern = values[:, :cells] - values[:, :cells].mean(1, keepdims=True)
    variance = (pattern**2).mean(1)
    patterned = np.flatnonzero(variance > PLAIN**2)
    first = np.arange(n)

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = int(first[i])
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        first[high] = low

    seen: dict[bytes, int] = {}
    for row, numbers in enumerate(described):
        join(row, seen.setdefault(numbers.tobytes(), row))
    unit = pattern[patterned] / np.sqrt(cells * variance[patterned, None])
    for start in range(0, len(patterned), 1024):
        rows = unit[start : start + 1024]
        # |a - b|^2 <= r min(|a|, |b|)^2 is possible only if the angle between a and b has a sine of at most sqrt(r).
        near = np.argwhere(rows @ unit[start:].T >= (1 - RESIDUAL) ** 0.5 - 1e-5)
        near = near[near[:, 0] < near[:, 1]] + start
        i, j = patterned[near[:, 0]], patterned[near[:, 1]]
        differs = ((pattern[i] - pattern[j]) ** 2).mean(1) / np.minimum(variance[i], variance[j])
        colours = np.abs(values[i, cells:] - values[j, cells:]).max(1, initial=0)
        same = (differs <= RESIDUAL) & (colours <= COLOURS)
        for one, other in zip(i[same].tolist(), j[same].tolist(), strict=True):
            join(one, other)
    return np.array([root(i) for i in range(n)], dtype=np.int64)
