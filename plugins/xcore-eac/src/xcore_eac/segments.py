"""From a segmenter's masks to the players of one image, and the images of their coalitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xcore.errors import XcoreError

Baseline = Literal["black", "mean", "blur"]

NUMBERS = 2**24
"""Numbers in the images that are made at once: 64 MB."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of one image.

    Parameters
    ----------
    masks
        (n, H, W) bool; they may overlap.
    names
        ``segment 1``, ... in the order of the segmenter, and ``rest`` for what no segment covers.
    left_out
        How many masks the limit put into the rest (or left out, where there is none).
    """

    masks: Tensor
    names: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.names)


def cut(segmenter: Any, image: Tensor, limit: int, rest: bool) -> Segments:
    """Segment an image (3, H, W) and make at most `limit` players of the masks.

    Empty masks and repeated ones are dropped. Of too many, the largest are kept, in the segmenter's order. With `rest`,
    pixels in no kept mask are a segment of their own, so that all segments together are the image.

    Raises
    ------
    XcoreError
        If the segmenter returns anything else than (n, H, W) bool.
    """
    height, width = image.shape[-2:]
    masks = segmenter.segment(image)
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool or masks.shape[1:] != (height, width):
        what = f"{masks.dtype} {tuple(masks.shape)}" if isinstance(masks, Tensor) else type(masks).__name__
        name = type(segmenter).__name__
        raise XcoreError(f"segmenter {name} returned {what} for an image of {height}x{width}, not bool (n, H, W)")
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
    """The n with the largest area, ties by index, in their order."""
    return sorted(sorted(kept, key=lambda i: -int(area[i]))[:n])


def background(image: Tensor, baseline: Baseline) -> Tensor:
    """What stands where no segment is: black, the image's mean colour, or the image blurred (3, H, W)."""
    if baseline == "black":
        return torch.zeros_like(image)
    if baseline == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image)
    from scipy.ndimage import gaussian_filter

    sigma = min(image.shape[-2:]) / 8
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, sigma, sigma), mode="nearest"))


def coalition_images(image: Tensor, behind: Tensor, masks: Tensor, coalitions: Tensor) -> Iterator[Tensor]:
    """Images of coalitions (m, n) bool, in batches of bounded size: the image in the union, else the background."""
    flat = masks.flatten(1).float()
    step = max(1, NUMBERS // image.numel())
    for start in range(0, len(coalitions), step):
        union = (coalitions[start : start + step].float() @ flat) > 0
        yield torch.where(union.reshape(-1, 1, *image.shape[-2:]), image, behind)
