"""Renders images as a concept's samples were made: as one of their segments, or as crops."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xcore.base.errors import NotApplicable, UsageError
from xcore.contract.samples import Samples

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def segments(samples: Samples, masks: Sequence[Tensor], fill: str, rng: np.random.Generator) -> Samples:
    """Show one segment of each image, drawn at random with probabilities in proportion to the areas.

    Parameters
    ----------
    samples
        N images.
    masks
        N tensors (n, H, W) bool, the segments of each image. An image without a segment is left out.
    fill
        What is shown around the segment: "mean" = the mean colour of the image, anything else = black.
    rng
        Draws the segments.

    Raises
    ------
    NotApplicable
        No image has a segment.
    """
    import torch

    kept: list[int] = []
    shown: list[Tensor] = []
    for i, (image, own) in enumerate(zip(samples.images, masks, strict=True)):
        area = own.flatten(1).double().sum(1)
        if not area.sum():
            continue
        mask = own[int(rng.choice(len(own), p=(area / area.sum()).numpy()))]
        around = image.mean((1, 2), keepdim=True) if fill == "mean" else torch.zeros_like(image)
        kept.append(i)
        shown.append(torch.where(mask, image, around))
    if not shown:
        raise NotApplicable("no image of the random set has a segment", "name another segmenter: --model segmenter=REF")
    ids = tuple(f"{samples.ids[i]}#segment:{fill}" for i in kept)
    return replace(samples.take(kept), data=torch.stack(shown), ids=ids)


def parse_crop(how: str) -> tuple[int, tuple[int, int]]:
    """Read the rendering of crops ``32>64`` or ``32>64x96``.

    Returns
    -------
    side : int
        Short side of the crop, in pixels.
    size : (int, int)
        (height, width) that the crop is resized to, in pixels.

    Raises
    ------
    UsageError
        It has another form.
    """
    match = re.fullmatch(r"(\d+)>(\d+)(?:x(\d+))?", how)
    if match is None:
        raise UsageError(f"rendering 'crop:{how}' is not of the form crop:SIDE>SIZE or crop:SIDE>HEIGHTxWIDTH")
    side, height = int(match[1]), int(match[2])
    return side, (height, int(match[3] or height))


def crops(samples: Samples, how: str, rng: np.random.Generator) -> Samples:
    """Cut one random crop out of each image and resize it.

    Parameters
    ----------
    samples
        n images.
    how
        Sizes of the crop and of the result (see `parse_crop`). The crop has the aspect ratio of the result.
    rng
        Draws the places.

    Raises
    ------
    NotApplicable
        The crop is larger than the images.
    """
    import torch
    from torch.nn.functional import interpolate

    side, size = parse_crop(how)
    tall, wide = (round(length * side / min(size)) for length in size)
    height, width = samples.images.shape[-2:]
    if tall > height or wide > width:
        raise NotApplicable(f"a crop of {tall}x{wide} pixels does not fit images of {height}x{width}")
    cut: list[Tensor] = []
    for image in samples.images:
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        cut.append(image[:, top : top + tall, left : left + wide])
    data = interpolate(torch.stack(cut), size=size, mode="bilinear", align_corners=False)
    ids = tuple(f"{i}#crop{how}" for i in samples.ids)
    return Samples("image", data.clamp(0, 1), ids, samples.labels)
