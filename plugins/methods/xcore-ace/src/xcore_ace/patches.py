"""Segments of an image at several resolutions, and each of them as a picture of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xcore.contract import NotApplicable, Samples

if TYPE_CHECKING:
    import numpy as np

GREY = 117 / 255
"""What surrounds a segment: about the mean of ImageNet, as in the released code."""

COMPACTNESS, SIGMA = 20.0, 1.0
"""Settings of SLIC in the released code."""


MIN_SHARE, OVERLAP = 0.001, 0.5
"""Which segments are left out, if nothing else is asked for."""


def segments(
    image: Tensor, resolutions: Sequence[int], min_share: float = MIN_SHARE, overlap: float = OVERLAP
) -> Tensor:
    """The segments of an image at all resolutions, without repetitions.

    Parameters
    ----------
    image
        (3, H, W) in [0, 1].
    resolutions
        Number of superpixels of each segmentation.
    min_share
        Smaller segments, as a share of the image, are left out.
    overlap
        A segment is left out if its intersection over union with one that was kept from an earlier segmentation is
        larger. Within a segmentation no two overlap.

    Returns
    -------
    Masks (n, H, W) bool, in the order of the resolutions. The last segment of each segmentation is among them; the
    released code leaves it out.

    References
    ----------
    Ghorbani et al., NeurIPS 2019, section 3; Achanta et al., SLIC Superpixels, PAMI 2012.
    """
    from skimage.segmentation import slic

    pixels = image.detach().cpu().double().permute(1, 2, 0).numpy()
    kept = torch.zeros(0, *image.shape[1:], dtype=torch.bool)
    for n in resolutions:
        labels = torch.from_numpy(
            slic(pixels, n_segments=n, compactness=COMPACTNESS, sigma=SIGMA, start_label=0, channel_axis=-1)
        )
        masks = labels[None] == labels.unique()[:, None, None]
        masks = masks[masks.flatten(1).double().mean(1) > min_share]
        kept = torch.cat([kept, masks[(intersection_over_union(masks, kept) <= overlap).all(1)]])
    return kept


def intersection_over_union(one: Tensor, other: Tensor) -> Tensor:
    """(n, m) for masks (n, H, W) and (m, H, W), none of them empty."""
    a, b = one.flatten(1).float(), other.flatten(1).float()
    both = a @ b.T
    return both / (a.sum(1, keepdim=True) + b.sum(1) - both)


def patch(image: Tensor, mask: Tensor) -> Tensor:
    """A segment as a picture: its bounding box, enlarged to the size of the image, with grey around the segment.

    Parameters
    ----------
    image
        (3, H, W) in [0, 1].
    mask
        (H, W) bool, not empty.

    Returns
    -------
    (3, H, W) in [0, 1]. The box has all rows and columns of the segment; the released code cuts the last ones off.
    """
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    shown = torch.where(mask, image, torch.full_like(image, GREY))[:, *box]
    size = (image.shape[1], image.shape[2])
    return interpolate(shown[None], size=size, mode="bicubic", align_corners=False)[0].clamp(0, 1)


def rendering(options: None) -> Callable[[Samples, str, np.random.Generator], Samples]:
    """The rendering that `how_of` names: each image is seen through one of its segments.

    Which one follows from the image alone, so that an image is segmented once, whatever sets it is in.
    """
    chosen: dict[tuple[str, str], Tensor] = {}

    def render(samples: Samples, how: str, rng: np.random.Generator) -> Samples:
        settings = parse(how)
        shown = []
        for i, image in enumerate(samples.images):
            key = (samples.take([i]).digest, how)
            if key not in chosen:
                masks = segments(image, *settings)
                if not len(masks):
                    raise NotApplicable(f"no segment of {samples.ids[i]} is large enough", "lower ace.min_share")
                chosen[key] = masks[int(key[0][:8], 16) % len(masks)]
            shown.append(patch(image, chosen[key]))
        return replace(samples, data=torch.stack(shown), ids=tuple(f"{i}#patch:{how}" for i in samples.ids))

    return render


def how_of(resolutions: Sequence[int], min_share: float, overlap: float) -> str:
    """What follows ``patch:`` for these settings of `segments`: ``15+50+80``, or ``15+50+80,0.01,0.5``."""
    how = "+".join(map(str, resolutions))
    return how if (min_share, overlap) == (MIN_SHARE, OVERLAP) else f"{how},{min_share!r},{overlap!r}"


def parse(how: str) -> tuple[tuple[int, ...], float, float]:
    """The settings that `how_of` wrote; raises `NotApplicable` if the text has another form."""
    numbers, *others = how.split(",")
    parts = numbers.split("+")
    try:
        min_share, overlap = map(float, others or (MIN_SHARE, OVERLAP))
        resolutions = tuple(int(part) for part in parts if part.isdecimal() and int(part))
    except ValueError:
        resolutions = ()
    if len(resolutions) != len(parts):
        raise NotApplicable(
            f"no random set can be rendered as 'patch:{how}'", "write numbers of superpixels: patch:15+50+80"
        )
    return resolutions, min_share, overlap
