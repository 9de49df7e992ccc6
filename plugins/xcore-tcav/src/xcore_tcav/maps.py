"""Where a concept is in the explained images: the CAV's projection at each position."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from xcore.protocols import Probe
from xcore.samples import Samples


def projections(probe: Probe, samples: Samples, cavs: Tensor) -> Tensor | None:
    """max(0, <a_p - mean, v>) at each position p, enlarged to the size of the image.

    v is the CAV averaged over positions, of unit length: a concept may be anywhere. The mean is over all positions of
    all samples, so 0 says "no more than usual in this class".

    Parameters
    ----------
    samples
        (N, 3, H, W) images.
    cavs
        (k, C h w) CAVs of flattened activations, or (k, C) that all positions share.

    Returns
    -------
    (k, N, H, W) >= 0, or None where the layer has no grid of positions.
    """
    if probe.layout != "NCHW" or samples.kind != "image":
        return None
    a = probe.activations(samples)
    v = cavs if cavs.shape[1] == a.shape[1] else cavs.unflatten(1, a.shape[1:]).mean((2, 3))
    centred = a - a.mean((0, 2, 3), keepdim=True)
    small = torch.einsum("nchw,kc->knhw", centred, normalize(v.to(a), dim=1)).clamp_min(0)
    return interpolate(small, size=samples.images.shape[-2:], mode="bilinear", align_corners=False)
