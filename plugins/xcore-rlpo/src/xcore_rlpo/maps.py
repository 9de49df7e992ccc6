"""Where a concept is in the explained images: the CAV's projection at each position."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from xcore.protocols import Probe
from xcore.samples import Samples


def projections(probe: Probe, samples: Samples, directions: Tensor) -> Tensor | None:
    """max(0, <a_p - mean, v>) at each position p, enlarged to the size of the image.

    v is the CAV averaged over positions, since a concept may be anywhere; the mean is that over all positions of the
    samples, so that zero means "no more than usual in this class".

    Parameters
    ----------
    samples
        (N, 3, H, W) images.
    directions
        (k, C h w) CAVs, or (k, C) that all positions share.

    Returns
    -------
    (k, N, H, W) >= 0, or None where the layer has no grid of positions.
    """
    if probe.layout != "NCHW" or samples.kind != "image":
        return None
    a = probe.activations(samples)
    shared = directions if directions.shape[1] == a.shape[1] else directions.unflatten(1, a.shape[1:]).mean((2, 3))
    centred = a - a.mean((0, 2, 3), keepdim=True)
    small = torch.einsum("nchw,kc->knhw", centred, normalize(shared.to(a), dim=1)).clamp_min(0)
    return interpolate(small, size=samples.images.shape[-2:], mode="bilinear", align_corners=False)
