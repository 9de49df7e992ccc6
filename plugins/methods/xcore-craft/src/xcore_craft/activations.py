"""A classifier split at one layer: its activations as rows that can be factorised, and the head above the layer.

CRAFT writes the classifier as f = h(g(x)): g leads from the image to the activations, the head h from there to the
logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from xcore.contract import Classifier, Probe, Samples, UsageError, XcoreError
from xcore.inputs.tokens import token_grid
from xcore.models.codes import rows_of
from xcore_craft.crops import Crop, CropGrid, crop_batches

Negative = Literal["semi-nmf", "shift", "relu", "error"]

MAX_NUMBERS = 2**23
"""How many numbers of perturbed activations are held in memory at once (32 MB)."""
NEARBY_LAYERS = 16
"""How many layers are searched for one without negative activations."""
FEW = 4
"""How many images are passed through the head to find out which tokens it reads."""


@dataclass(frozen=True, eq=False)
class SplitClassifier:
    """A classifier f = h(g(x)), split at a layer whose activations are turned into rows, one for each position."""

    probe: Probe
    shape: tuple[int, ...]
    """Shape of one sample's activations in the layout of the probe."""
    tokens_read: int | None = None
    """How many leading tokens (class and distillation tokens) the logits depend on, if they depend on no others."""
    signed: bool = False
    """Whether rows have negative values, so that only semi-NMF can factorise them."""
    shift: Tensor | None = None
    """(C,) subtracted from the activations, and added again before the head."""
    floor: Tensor | None = None
    """(C,) the least value of each channel; smaller activations are set to it. None = no such limit."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """For `Dictionary.state`: rows = max(activations, floor) - shift, activations ~ codes @ atoms + shift."""
        return {k: v for k, v in (("shift", self.shift), ("floor", self.floor)) if v is not None}

    def positions(self, size: tuple[int, int]) -> tuple[int, int, int] | None:
        """How the rows of an image of this size (H, W) lie in it.

        Returns
        -------
        (number of extra tokens in front, rows, columns), or None if the layer has no positions that the logits depend
        on: it has one position, its tokens form no grid, or only its class token is read.
        """
        layout, shape = self.probe.layout, self.shape
        if layout == "NCHW":
            return (0, shape[1], shape[2]) if shape[1] * shape[2] > 1 else None
        return token_grid(shape[0], size) if layout == "NTC" and self.tokens_read is None else None

    def to_rows(self, a: Tensor) -> Tensor:
        """Rows (n, P, C) from activations in the layout of the probe."""
        rows = rows_of(a, self.probe.layout)
        if self.floor is not None:
            rows = torch.maximum(rows, self.floor)
        return rows if self.shift is None else rows - self.shift

    def read(self, rows: Tensor) -> Tensor:
        """Those of the rows (n, P, ...) on which the logits depend."""
        return rows[:, : self.tokens_read]

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


def split_at(classifier: Classifier, layer: str, samples: Samples) -> SplitClassifier:
    """The classifier, split at a layer whose activations are left as they are."""
    probe = classifier.open(layer)
    a, few = probe.activations(samples), samples.take(slice(FEW))
    return SplitClassifier(probe, tuple(a.shape[1:]), _tokens_read(probe, a[: len(few)], few))


def _tokens_read(probe: Probe, a: Tensor, few: Samples) -> int | None:
    """How many leading tokens the logits depend on, if they do not change when all patch tokens are replaced.

    In the last block of a transformer that classifies by its class token, nothing reads the patch tokens any more.
    """
    grid = token_grid(a.shape[1], (few.images.shape[-2], few.images.shape[-1])) if probe.layout == "NTC" else None
    if grid is None or not grid[0]:
        return None
    other = a.clone()
    other[:, grid[0] :] = -a[:, grid[0] :].flip(1)
    with torch.no_grad():
        logits, changed = probe.head(a, few), probe.head(other, few)
    rounding = 1e-6 * float(logits.nan_to_num(0, 0, 0).abs().max())  # some classes may be masked with -inf
    return grid[0] if torch.allclose(changed, logits, rtol=0, atol=rounding) else None


def read_activations(
    classifier: Classifier,
    split: SplitClassifier,
    layer: str,
    samples: Samples,
    grid: CropGrid,
    crops: Sequence[Crop],
    negative: Negative,
    method: str = "craft",
) -> tuple[SplitClassifier, Tensor, Tensor]:
    """Pass images and crops through the network up to a layer, and treat negative activations.

    Parameters
    ----------
    split
        The classifier, split at the layer by `split_at`.
    samples
        The N images of the class.
    crops
        The n crops of these images.
    negative
        What to do with negative activations: leave them as they are (semi-nmf), subtract the minimum of each channel
        (shift), set them to zero (relu), or refuse them (error).
    method
        Whose option `negative` is, for the hint.

    Returns
    -------
    split : the classifier, split at the layer, with what was done to the activations
    of_images : (N, P, C), the activations of the images at all positions
    of_crops : (n, C), the activations of each crop, averaged over the positions on which the logits depend

    Raises
    ------
    UsageError
        If activations are negative and `negative` is ``error``; the hint names the option, and a layer whose
        activations are not negative.
    XcoreError
        If activations are infinite or not a number.
    """
    probe = split.probe
    of_images = rows_of(probe.activations(samples), probe.layout)
    low = split.read(of_images).amin((0, 1))
    if negative == "error" and float(low.min()) < 0:
        raise _negative_activations(classifier, layer, samples, float(low.min()), method)
    means = [of_images.new_zeros(0, of_images.shape[2])]
    for batch in crop_batches(samples, grid, crops):
        rows = split.read(rows_of(probe.activations(batch), probe.layout))
        low = torch.minimum(low, rows.amin((0, 1)))
        means.append((rows.clamp_min(0) if negative == "relu" else rows).mean(1))
    of_crops = torch.cat(means)
    if not (torch.isfinite(of_images).all() and torch.isfinite(of_crops).all()):
        raise XcoreError(
            f"layer {layer!r} gives activations that are infinite or not a number", "check the classifier's weights"
        )
    if float(low.min()) >= 0:
        return split, of_images, of_crops
    if negative == "error":
        raise _negative_activations(classifier, layer, samples, float(low.min()), method)
    if negative == "semi-nmf":
        return replace(split, signed=True), of_images, of_crops
    if negative == "relu":
        return replace(split, floor=torch.zeros_like(low)), of_images.clamp_min(0), of_crops
    shift = low.clamp_max(0)
    # The mean of rounded numbers can be below their minimum by a rounding error.
    return replace(split, shift=shift), of_images - shift, (of_crops - shift).clamp_min(0)


TREATED = {
    "semi-nmf": "concepts are found by semi-NMF: what a concept adds may be negative, how much of it there is may not",
    "shift": "the minimum of each channel is subtracted before the factorisation",
    "relu": "they are set to zero, and what they say is lost",
}
"""What a reader is told about negative activations, by the option `negative`."""


def treatment_note(split: SplitClassifier, negative: Negative, method: str) -> str:
    """What was done to negative activations; "" if there are none."""
    if not (split.signed or split.state):
        return ""
    return f"some activations of this layer are negative, so {TREATED[negative]} ({method}.negative={negative})"


def token_note(split: SplitClassifier) -> str:
    """That the logits depend on the class token alone, if they do."""
    if split.tokens_read is None:
        return ""
    beside = split.tokens_read - 1
    tokens, say = "its class token", "it says"
    if beside:
        tokens, say = f"{tokens} and the {'token' if beside == 1 else f'{beside} tokens'} next to it", "they say"
    return (
        f"behind this layer the network reads nothing but {tokens}, so the concepts are found in what {say} of images "
        "and crops, and the maps show in which crops a concept is (an earlier layer has finer maps)"
    )


def _negative_activations(classifier: Classifier, layer: str, samples: Samples, low: float, method: str) -> UsageError:
    near = nearest_nonnegative_layer(classifier, layer, samples)
    instead = f", or choose layer {near!r}, whose activations are not negative" if near else ""
    return UsageError(
        f"layer {layer!r} has negative activations (down to {low:.3g}), which {method}.negative=error refuses",
        f"set {method}.negative to 'semi-nmf', 'shift' or 'relu'{instead}",
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
