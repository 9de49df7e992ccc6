"""Versions of images by their masks: only what is covered, only the rest, and what is covered before another rest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xcore.contract import MissingError, Samples, UsageError

MASKS_HINT = "give each image one in a folder masks/ with the same paths, or in the column mask of metadata.csv"
COVERED = 0.5
"""Value of a mask from which on a pixel is covered."""
GREY = 0.5


def covered(samples: Samples, cls: str) -> tuple[Samples, Tensor, int]:
    """The images whose mask covers a part of them, these masks (n, H, W) in [0, 1], and how many images have none.

    Of several masks of an image the first is that of the object.

    Raises
    ------
    MissingError
        No image has a mask that covers a part of it.
    UsageError
        The masks have another size than the images.
    """
    given = samples.meta.get("masks")
    if given is None:
        raise MissingError(f"the images of {cls!r} have no masks", MASKS_HINT)
    masks = torch.as_tensor(given).float()
    masks = masks[:, 0] if masks.ndim == 4 else masks
    size = tuple(samples.images.shape[-2:])
    if tuple(masks.shape[-2:]) != size:
        raise UsageError(
            "the masks have {} x {} pixels, the images {} x {}".format(*masks.shape[-2:], *size),
            "give masks of the size of the images",
        )
    share = (masks >= COVERED).float().mean((1, 2))
    rows = [i for i, s in enumerate(share.tolist()) if 0 < s < 1]
    if not rows:
        raise MissingError(f"no mask of the images of {cls!r} covers a part of its image", MASKS_HINT)
    return samples.take(rows), masks[rows], len(samples) - len(rows)


def only_foreground(images: Tensor, masks: Tensor) -> Tensor:
    """Images (n, 3, H, W) whose uncovered part is grey: their mean colour would still say that they were on water."""
    weight = masks[:, None]
    return images * weight + GREY * (1 - weight)


def only_background(images: Tensor, masks: Tensor) -> Tensor:
    """Images (n, 3, H, W) without what is covered: the box around it is tiled with the largest strip beside it.

    A box that leaves no strip is filled with the mean colour of what is not covered. The shape of the object is gone,
    too, since the whole box is filled.
    """
    made = images.clone()
    for image, mask in zip(made, masks >= COVERED, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        strips = [image[:, :top], image[:, bottom:], image[:, :, :left], image[:, :, right:]]
        strip = max(strips, key=lambda s: s.shape[1] * s.shape[2]).clone()
        high, wide = bottom - top, right - left
        if strip.shape[1] * strip.shape[2] == 0:
            image[:, top:bottom, left:right] = image[:, ~mask].mean(1)[:, None, None]
            continue
        repeat = (1, -(-high // strip.shape[1]), -(-wide // strip.shape[2]))
        image[:, top:bottom, left:right] = strip.repeat(repeat)[:, :high, :wide]
    return made


def mixed(images: Tensor, masks: Tensor, backgrounds: Tensor, rng: np.random.Generator) -> Tensor:
    """What is covered before the backgrounds (m, 3, H, W) of other images, one of which is drawn for each image."""
    weight = masks[:, None]
    return images * weight + backgrounds[torch.from_numpy(rng.integers(len(backgrounds), size=len(images)))] * (
        1 - weight
    )
