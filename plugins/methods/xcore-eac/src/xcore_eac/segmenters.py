"""Segmenters that need no weights (role ``segmenter``): felzenszwalb and slic of scikit-image, and a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore_eac.options import FelzenszwalbOptions, GridOptions, SlicOptions

SIDE = 64
"""Lengths in options are for images with a short side of this many pixels, and grow with the image."""

STEPS = 20
"""How often the scale of `Felzenszwalb` is changed at most: to a thousandth, or a thousandfold."""


class Felzenszwalb:
    """Graph-based segments (Felzenszwalb and Huttenlocher, IJCV 2004): regions of one colour or one texture.

    One scale does not suit all pictures: where a drawing falls into its parts, a photograph of a zebra may be a single
    segment. So the scale is changed, by a factor of the square root of 2 at a time, until the number of segments lies
    in the range of the options. Where no scale does that, as for a picture of one colour, superpixels take its place.
    """

    def __init__(self, options: FelzenszwalbOptions | None = None) -> None:
        self.options = options or FelzenszwalbOptions()

    def segment(self, image: Tensor) -> Tensor:
        """Masks (n, H, W) bool of an image (3, H, W) in [0, 1]; they cover it and do not overlap."""
        pixels, (least, most) = _pixels(image), self.options.segments
        least = min(least, max(1, int(0.5 / max(self.options.min_share, 0.001))))  # large segments are few
        exponent = direction = 0
        labels = self._at_scale(pixels, exponent)
        while not least <= (count := len(np.unique(labels))) <= most:
            turn = -1 if count < least else 1
            if turn == -direction or abs(exponent + turn) > STEPS:  # no scale gives a number in the range
                return Slic(SlicOptions(n_segments=min(2 * least, most))).segment(image)
            direction, exponent = turn, exponent + turn
            labels = self._at_scale(pixels, exponent)
        return _masks(labels)

    def _at_scale(self, pixels: NDArray[np.float64], exponent: int) -> NDArray[Any]:
        """Labels (H, W) at the scale of the options times the square root of 2 to this power."""
        from skimage.segmentation import felzenszwalb

        o = self.options
        size = min(pixels.shape[:2]) / SIDE
        least = max(1, round(o.min_share * pixels.shape[0] * pixels.shape[1]))
        scale = o.scale * size * 2 ** (exponent / 2)
        labels: NDArray[Any] = felzenszwalb(
            pixels, scale=scale, sigma=o.sigma * size**0.5, min_size=least, channel_axis=-1
        )
        return labels


class Slic:
    """Superpixels by k-means over colour and position (Achanta et al., PAMI 2012): of about equal size, along edges."""

    def __init__(self, options: SlicOptions | None = None) -> None:
        self.options = options or SlicOptions()

    def segment(self, image: Tensor) -> Tensor:
        """Masks (n, H, W) bool of an image (3, H, W) in [0, 1]; they cover it and do not overlap."""
        from skimage.segmentation import slic

        o, pixels = self.options, _pixels(image)
        scale = min(pixels.shape[:2]) / SIDE
        labels = slic(
            pixels,
            n_segments=o.n_segments,
            compactness=o.compactness,
            sigma=o.sigma * scale,
            start_label=0,
            channel_axis=-1,
        )
        return _masks(labels)


class Grid:
    """A grid of rectangles, the same for every image."""

    def __init__(self, options: GridOptions | None = None) -> None:
        self.options = options or GridOptions()

    def segment(self, image: Tensor) -> Tensor:
        """Masks (n, H, W) bool of an image (3, H, W); they cover it and do not overlap."""
        height, width = image.shape[-2:]
        row = np.arange(height) * self.options.rows // height
        column = np.arange(width) * self.options.columns // width
        return _masks(row[:, None] * self.options.columns + column)


def _pixels(image: Tensor) -> NDArray[np.float64]:
    return image.detach().cpu().double().permute(1, 2, 0).numpy()


def _masks(labels: NDArray[Any]) -> Tensor:
    return torch.from_numpy(labels[None] == np.unique(labels)[:, None, None])
