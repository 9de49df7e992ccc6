"""Maps of where a concept is in the explained images: the projection of the activations on its CAV at each position."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from xcore.contract import Probe, Samples
from xcore.inputs.tokens import token_grid


def projections(probe: Probe, samples: Samples, cavs: Tensor) -> Tensor | None:
    """max(0, <a_p - mean, v>) at each position p, enlarged to the size of the image.

    v is the CAV averaged over positions, with length 1, since a concept may be anywhere. The mean is over all positions
    of all samples, so 0 means "no more than the average in this class".

    Parameters
    ----------
    probe
        The model opened at the layer of the CAVs.
    samples
        (N, 3, H, W) images.
    cavs
        (k, C h w) or (k, T C) CAVs of flattened activations, or (k, C) CAVs that all positions share.

    Returns
    -------
    (k, N, H, W) >= 0, or None where the layer has no grid of positions.
    """
    if probe.layout == "NC" or samples.modality != "image":
        return None
    a, size = probe.activations(samples), samples.images.shape[-2:]
    if probe.layout == "NTC":  # the class token is nowhere in the image
        grid = token_grid(a.shape[1], (size[0], size[1]))
        if grid is None:
            return None
        tokens, (extra, rows, columns) = a.shape[1], grid
        a = a[:, extra:].transpose(1, 2).unflatten(2, (rows, columns))
        v = cavs if cavs.shape[1] == a.shape[1] else cavs.unflatten(1, (tokens, -1))[:, extra:].mean(1)
    else:
        v = cavs if cavs.shape[1] == a.shape[1] else cavs.unflatten(1, a.shape[1:]).mean((2, 3))
    centred = a - a.mean((0, 2, 3), keepdim=True)
    small = torch.einsum("nchw,kc->knhw", centred, normalize(v.to(a), dim=1)).clamp_min(0)
    return interpolate(small, size=size, mode="bilinear", align_corners=False)
