"""A classifier split at one layer: its activations as rows that can be factorised, and the head above the layer.

CRAFT writes the classifier as f = h(g(x)): g leads from the image to the activations, the head h from there to the
logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xcore.contract import Classifier, Probe, Samples, UsageError, XcoreError
from xcore_craft.crops import Crop, CropGrid, crop_batches

Negative = Literal["error", "shift", "relu"]

MAX_NUMBERS = 2**23
"""How many numbers of perturbed activations are held in memory at once (32 MB)."""
NEARBY_LAYERS = 16
"""How many layers are searched for one without negative activations."""


@dataclass(frozen=True, eq=False)
class SplitClassifier:
    """A classifier f = h(g(x)), split at a layer whose activations are turned into rows, one for each position."""

    probe: Probe
    shape: tuple[int, ...]
    """Shape of one sample's activations in the layout of the probe."""
    shift: Tensor | None = None
    """(C,) subtracted from the activations, and added again before the head."""
    floor: Tensor | None = None
    """(C,) the least value of each channel; smaller activations are set to it. None = no such limit."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """For `Dictionary.state`: rows = max(activations, floor) - shift, activations ~ codes @ atoms + shift."""
        return {k: v for k, v in (("shift", self.shift), ("floor", self.floor)) if v is not None}

    def to_rows(self, a: Tensor) -> Tensor:
        """Rows (n, P, C) from activations in the layout of the probe."""
        rows = to_rows(a, self.probe.layout)
        if self.floor is not None:
            rows = torch.maximum(rows, self.floor)
        return rows if self.shift is None else rows - self.shift

    def head(self, rows: Tensor, like: Samples) -> Tensor:
        """Logits (n, classes) from rows (n, P, C), differentiable in the rows; `like` are the samples of the rows."""
        a = rows if self.shift is None else rows + self.shift
        if self.probe.layout == "NCHW":
            a = a.transpose(1, 2)
        return self.probe.head(a.reshape(len(a), *self.shape), like)

    @torch.no_grad()
    def logits_of_masked_codes(self, masks: Tensor, codes: Tensor, atoms: Tensor, like: Samples) -> Tensor:
        """Logits of one sample when each concept's code is multiplied by a mask, the same at all positions.

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
        step = max(1, MAX_NUMBERS // (codes.shape[0] * atoms.shape[1]))
        parts = []
        for start in range(0, len(masks), step):
            batch = masks[start : start + step]
            rows = (batch[:, None, :] * codes) @ atoms
            repeated = Samples("image", like.images.expand(len(batch), -1, -1, -1), like.ids * len(batch))
            parts.append(self.head(rows, repeated))
        return torch.cat(parts)


def to_rows(a: Tensor, layout: str) -> Tensor:
    """Rows (n, P, C) from activations (n, C), (n, T, C) or (n, C, H, W)."""
    if layout == "NCHW":
        return a.flatten(2).transpose(1, 2)
    return a[:, None, :] if layout == "NC" else a


def read_activations(
    classifier: Classifier, layer: str, samples: Samples, grid: CropGrid, crops: Sequence[Crop], negative: Negative
) -> tuple[SplitClassifier, Tensor, Tensor]:
    """Pass images and crops through the network up to a layer, and make their activations non-negative.

    Parameters
    ----------
    samples
        The N images of the class.
    crops
        The n crops of these images.
    negative
        What to do with negative activations.

    Returns
    -------
    split : the classifier, split at the layer
    of_images : (N, P, C) >= 0, the activations of the images at all positions
    of_crops : (n, C) >= 0, the activations of each crop, averaged over positions

    Raises
    ------
    UsageError
        If activations are negative and `negative` is ``error``; the hint names the option, and a layer whose
        activations are not negative.
    XcoreError
        If activations are infinite or not a number.
    """
    probe = classifier.open(layer)
    a = probe.activations(samples)
    shape = tuple(a.shape[1:])
    of_images = to_rows(a, probe.layout)
    low = of_images.amin((0, 1))
    if negative == "error" and float(low.min()) < 0:
        raise _negative_activations(classifier, layer, samples, float(low.min()))
    means = []
    for batch in crop_batches(samples, grid, crops):
        rows = to_rows(probe.activations(batch), probe.layout)
        low = torch.minimum(low, rows.amin((0, 1)))
        means.append((rows.clamp_min(0) if negative == "relu" else rows).mean(1))
    of_crops = torch.cat(means)
    if not (torch.isfinite(of_images).all() and torch.isfinite(of_crops).all()):
        raise XcoreError(
            f"layer {layer!r} gives activations that are infinite or not a number", "check the classifier's weights"
        )
    if float(low.min()) >= 0:
        return SplitClassifier(probe, shape), of_images, of_crops
    if negative == "error":
        raise _negative_activations(classifier, layer, samples, float(low.min()))
    if negative == "relu":
        return SplitClassifier(probe, shape, floor=torch.zeros_like(low)), of_images.clamp_min(0), of_crops
    shift = low.clamp_max(0)
    # The mean of rounded numbers can be below their minimum by a rounding error.
    return SplitClassifier(probe, shape, shift=shift), of_images - shift, (of_crops - shift).clamp_min(0)


def _negative_activations(classifier: Classifier, layer: str, samples: Samples, low: float) -> UsageError:
    near = nearest_nonnegative_layer(classifier, layer, samples)
    instead = f", or choose layer {near!r}, whose activations are not negative" if near else ""
    return UsageError(
        f"layer {layer!r} has negative activations (down to {low:.3g}), and CRAFT needs activations of zero or more",
        f"set craft.negative to 'shift' or 'relu'{instead}",
    )


def nearest_nonnegative_layer(classifier: Classifier, layer: str, samples: Samples) -> str | None:
    """The nearest other layer without negative activations; of two that are equally near, the later one.

    This is only for a hint: it looks at the `NEARBY_LAYERS` nearest layers and at one image, because every layer costs
    a forward pass.
    """
    layers = list(classifier.layers)
    here = layers.index(layer) if layer in layers else len(layers)
    order = sorted(layers, key=lambda name: (abs(layers.index(name) - here), -layers.index(name)))
    for name in [name for name in order if name != layer][:NEARBY_LAYERS]:
        a = usable_activations(classifier, name, samples.take([0]))
        if a is not None and float(a.min()) >= 0:
            return name
    return None


def usable_activations(classifier: Classifier, layer: str, samples: Samples) -> Tensor | None:
    """Activations in the layout of the probe; None if the layer cannot be read, or all its activations are zero."""
    try:
        a = classifier.open(layer).activations(samples)
    except XcoreError:
        return None
    return a if a.ndim in (2, 3, 4) and bool(a.any()) else None
