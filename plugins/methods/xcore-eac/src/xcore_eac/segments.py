"""The segments of an image from a segmenter's masks, and the images of coalitions of segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xcore.contract import XcoreError

Baseline = Literal["black", "mean", "blur"]

MAX_ELEMENTS = 2**24
"""Tensor elements of the images in one batch: 64 MB."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of one image.

    Parameters
    ----------
    masks
        (n, H, W) bool; they may overlap.
    names
        ``segment 1``, ... in the order of the segmenter, and ``rest`` for the pixels in no segment.
    left_out
        How many masks the limit on segments moved into the rest (or dropped, if there is no rest).
    """

    masks: Tensor
    names: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.names)


def segment_image(segmenter: Any, image: Tensor, limit: int, rest: bool) -> Segments:
    """Segment an image (3, H, W) in [0, 1] into at most `limit` segments.

    Empty and repeated masks are dropped. If there are too many, the largest are kept, in the segmenter's order. With
    `rest`, the pixels in no kept mask are one more segment, so that all segments together are the image.

    Raises
    ------
    XcoreError
        The segmenter returns something else than a bool tensor (n, H, W).
    """
    height, width = image.shape[-2:]
    masks = segmenter.segment(image)
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool or masks.shape[1:] != (height, width):
        what = f"{masks.dtype} {tuple(masks.shape)}" if isinstance(masks, Tensor) else type(masks).__name__
        name = type(segmenter).__name__
        raise XcoreError(
            f"segmenter {name} returned {what} for an image of {height}x{width}, not bool (n, H, W)",
            "name another segmenter with --model segmenter=REF",
        )
    masks = masks.cpu()
    seen: dict[bytes, int] = {}
    for i, mask in enumerate(masks):
        if mask.any():
            seen.setdefault(mask.numpy().tobytes(), i)
    kept = list(seen.values())
    area = masks.flatten(1).sum(1)
    if len(kept) > limit:
        kept = _largest(kept, area, limit - rest)
    uncovered = ~masks[kept].any(0)
    if rest and uncovered.any() and len(kept) == limit:
        kept = _largest(kept, area, limit - 1)
        uncovered = ~masks[kept].any(0)
    names = [f"segment {i + 1}" for i in kept]
    chosen = masks[kept]
    if rest and uncovered.any():
        chosen, names = torch.cat([chosen, uncovered[None]]), [*names, "rest"]
    return Segments(chosen, tuple(names), len(seen) - len(kept))


def _largest(kept: list[int], area: Tensor, n: int) -> list[int]:
    """The n masks with the largest area, in their order; ties go to the first."""
    return sorted(sorted(kept, key=lambda i: -int(area[i]))[:n])


def background(image: Tensor, baseline: Baseline) -> Tensor:
    """(3, H, W) that fills the pixels of absent segments: black, the image's mean colour, or the blurred image."""
    if baseline == "black":
        return torch.zeros_like(image)
    if baseline == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image)
    from scipy.ndimage import gaussian_filter

    sigma = min(image.shape[-2:]) / 8
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, sigma, sigma), mode="nearest"))


def coalition_images(image: Tensor, behind: Tensor, masks: Tensor, coalitions: Tensor) -> Iterator[Tensor]:
    """Images of coalitions (m, n) bool, in batches of bounded size.

    The pixels of the segments in a coalition are those of the image, all others are those of `behind`.
    """
    flat = masks.flatten(1).float()
    step = max(1, MAX_ELEMENTS // image.numel())
    for start in range(0, len(coalitions), step):
        union = (coalitions[start : start + step].float() @ flat) > 0
        yield torch.where(union.reshape(-1, 1, *image.shape[-2:]), image, behind)
