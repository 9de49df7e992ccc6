"""The activations of one layer as non-negative rows, whatever its layout, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xcore.errors import UsageError, XcoreError
from xcore.protocols import Classifier, Probe
from xcore.samples import Samples
from xcore_craft.crops import Grid, cut

Negative = Literal["error", "shift", "relu"]

CROPS = 64
"""Crops that are cut and enlarged at once."""
NUMBERS = 2**23
"""Numbers of perturbed activations that are held at once (32 MB)."""
NEAR = 16
"""Layers that are tried for one without negative activations."""


@dataclass(frozen=True, eq=False)
class Space:
    """A layer's activations, made non-negative: ``rows`` is what is factorised, ``head`` leads back to the logits."""

    probe: Probe
    shape: tuple[int, ...]
    """Shape of one sample's activations in the layout of the probe."""
    shift: Tensor | None = None
    """(C,) <= 0, subtracted from the activations and added again before the head."""
    floor: Tensor | None = None
    """(C,) zeros if negative activations are set to zero."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """For `Dictionary.state`: rows = max(activations, floor) - shift, activations ~ codes @ atoms + shift."""
        return {k: v for k, v in (("shift", self.shift), ("floor", self.floor)) if v is not None}

    def rows(self, a: Tensor) -> Tensor:
        """(n, P, C) from activations in the layout of the probe."""
        rows = flatten(a, self.probe.layout)
        if self.floor is not None:
            rows = torch.maximum(rows, self.floor)
        return rows if self.shift is None else rows - self.shift

    @torch.no_grad()
    def head(self, rows: Tensor, like: Samples) -> Tensor:
        """Logits (n, classes) of rows (n, P, C)."""
        a = rows if self.shift is None else rows + self.shift
        if self.probe.layout == "NCHW":
            a = a.transpose(1, 2)
        return self.probe.head(a.reshape(len(a), *self.shape), like)

    @torch.no_grad()
    def masked(self, masks: Tensor, codes: Tensor, atoms: Tensor, like: Samples) -> Tensor:
        """Logits of one sample with each code scaled by a mask, the same at all positions.

        Parameters
        ----------
        masks
            (m, k) in [0, 1].
        codes
            (P, k).
        atoms
            (k, C).
        like
            The sample (n = 1).

        Returns
        -------
        (m, classes)
        """
        step = max(1, NUMBERS // (codes.shape[0] * atoms.shape[1]))
        parts = []
        for start in range(0, len(masks), step):
            chunk = masks[start : start + step]
            rows = (chunk[:, None, :] * codes) @ atoms
            same = Samples("image", like.images.expand(len(chunk), -1, -1, -1), like.ids * len(chunk))
            parts.append(self.head(rows, same))
        return torch.cat(parts)


def flatten(a: Tensor, layout: str) -> Tensor:
    """(n, P, C) from (n, C), (n, T, C) or (n, C, H, W)."""
    if layout == "NCHW":
        return a.flatten(2).transpose(1, 2)
    return a[:, None, :] if layout == "NC" else a


def measure(
    classifier: Classifier, layer: str, images: Samples, grid: Grid, picks: list[tuple[int, int]], negative: Negative
) -> tuple[Space, Tensor, Tensor]:
    """Pass images and crops through the network and make their activations non-negative.

    Parameters
    ----------
    images
        The N samples of the class.
    picks
        (image, crop of the grid) of the n crops.
    negative
        What to do with negative activations.

    Returns
    -------
    space : the layer
    full : (N, P, C) >= 0, the samples at all positions
    means : (n, C) >= 0, each crop's mean over its positions

    Raises
    ------
    UsageError
        If activations are negative and `negative` is ``error``; names the option and a layer that has none.
    XcoreError
        If activations are infinite.
    """
    probe = classifier.open(layer)
    full = probe.activations(images)
    shape = tuple(full.shape[1:])
    full = flatten(full, probe.layout)
    means, low = [], full.amin((0, 1))
    if negative == "error" and float(low.min()) < 0:
        raise _refusal(classifier, layer, images, float(low.min()))
    for start in range(0, len(picks), CROPS):
        part = picks[start : start + CROPS]
        crops = Samples("image", cut(images.images, grid, part), tuple(f"{images.ids[i]}#{box}" for i, box in part))
        rows = flatten(probe.activations(crops), probe.layout)
        low = torch.minimum(low, rows.amin((0, 1)))
        means.append((rows.clamp_min(0) if negative == "relu" else rows).mean(1))
    pooled = torch.cat(means)
    if not (torch.isfinite(full).all() and torch.isfinite(pooled).all()):
        raise XcoreError(f"activations at layer {layer!r} are not finite", "check the classifier's weights")
    if float(low.min()) >= 0:
        return Space(probe, shape), full, pooled
    if negative == "error":
        raise _refusal(classifier, layer, images, float(low.min()))
    if negative == "relu":
        return Space(probe, shape, floor=torch.zeros_like(low)), full.clamp_min(0), pooled
    shift = low.clamp_max(0)
    # The mean of rounded numbers may fall below their minimum by a rounding.
    return Space(probe, shape, shift=shift), full - shift, (pooled - shift).clamp_min(0)


def _refusal(classifier: Classifier, layer: str, images: Samples, low: float) -> UsageError:
    near = nearest_nonnegative(classifier, layer, images)
    instead = f", or use layer {near!r}, which has none" if near else ""
    return UsageError(
        f"layer {layer!r} has negative activations (down to {low:.3g}) and CRAFT needs none",
        f"set craft.negative to 'shift' or 'relu'{instead}",
    )


def nearest_nonnegative(classifier: Classifier, layer: str, images: Samples) -> str | None:
    """The nearest of the classifier's other layers that has no negative activation; later ones first.

    Only a hint: of the `NEAR` nearest layers, on one image, since each costs a forward pass.
    """
    layers = list(classifier.layers)
    here = layers.index(layer) if layer in layers else len(layers)
    order = sorted(layers, key=lambda name: (abs(layers.index(name) - here), -layers.index(name)))
    for name in [name for name in order if name != layer][:NEAR]:
        a = peek(classifier, name, images.take([0]))
        if a is not None and float(a.min()) >= 0:
            return name
    return None


def peek(classifier: Classifier, layer: str, few: Samples) -> Tensor | None:
    """Activations of a few samples, in the layout of the probe; None for a layer that is of no use."""
    try:
        a = classifier.open(layer).activations(few)
    except XcoreError:
        return None
    return a if a.ndim in (2, 3, 4) and bool(a.any()) else None
