"""Segmenters that need no weights (role ``segmenter``): felzenszwalb and slic of scikit-image, and a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore_eac.options import FelzenszwalbOptions, GridOptions, SlicOptions

SIDE = 64
"""Lengths in options are for images with a short side of this many pixels, and are scaled with the image."""


class Felzenszwalb:
    """Graph-based segments (Felzenszwalb and Huttenlocher, IJCV 2004): regions of one colour or one texture."""

    def __init__(self, options: FelzenszwalbOptions | None = None) -> None:
        self.options = options or FelzenszwalbOptions()

    def segment(self, image: Tensor) -> Tensor:
        """Masks (n, H, W) bool of an image (3, H, W) in [0, 1]; they cover it and do not overlap."""
        from skimage.segmentation import felzenszwalb

        o, pixels = self.options, _pixels(image)
        scale = min(pixels.shape[:2]) / SIDE
        least = max(1, round(o.min_share * pixels.shape[0] * pixels.shape[1]))
        labels = felzenszwalb(pixels, scale=o.scale * scale, sigma=o.sigma * scale, min_size=least, channel_axis=-1)
        return _masks(labels)


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
