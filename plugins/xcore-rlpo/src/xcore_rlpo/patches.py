"""Images cut into the patches of a grid."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from xcore.errors import NotApplicable
from xcore.samples import Samples


def patches(samples: Samples, grid: int) -> Samples:
    """grid x grid patches of all images: the first patch of each image, then the second, ...; column by column.

    Patches are (H // grid, W // grid); what is left over at the right and the bottom is dropped.

    Raises
    ------
    NotApplicable
        The images are smaller than the grid.
    """
    images = samples.images
    height, width = images.shape[-2] // grid, images.shape[-1] // grid
    if not height or not width:
        raise NotApplicable(f"images of {images.shape[-2]}x{images.shape[-1]} have no {grid}x{grid} patches")
    cut = [
        images[:, :, r * height : (r + 1) * height, c * width : (c + 1) * width]
        for c in range(grid)
        for r in range(grid)
    ]
    ids = tuple(f"{i}#patch{p}" for p in range(len(cut)) for i in samples.ids)
    return Samples("image", torch.cat(cut), ids)


def pieces(samples: Samples, grid: int) -> Samples:
    """What phrases are compared with: images whole or as patches of the same size, texts as they are."""
    if samples.kind == "text" or grid == 1:
        return samples
    cut = patches(samples, grid)
    grown = interpolate(cut.images, size=samples.images.shape[-2:], mode="bilinear", align_corners=False)
    return Samples("image", grown.clamp(0, 1), cut.ids)
