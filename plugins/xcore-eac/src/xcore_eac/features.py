"""Where the surrogate lives: the features before the model's own head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xcore.errors import XcoreError
from xcore.protocols import Classifier, Probe
from xcore.samples import Samples

CLOSE = 1e-4
"""An affine head reproduces the logits to this share of their range."""


@dataclass(frozen=True, eq=False)
class Space:
    """Features of a layer (rows, F), and the logits that the model's own head makes of them.

    Where the head is affine, as behind a pooling layer, features are their coordinates in the row space of its weights:
    the same surrogates, and nothing left to compute that the logits do not see.
    """

    layer: str
    probe: Probe
    encode: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]
    affine: bool


def find(classifier: Classifier, layer: str, wanted: str, samples: Samples) -> Space | None:
    """The space at the layer that is asked for; else at the last layer of shape (n, features); else at the layer that
    is explained. None if the classifier shows no activations or none of these can be cut from what lies below.

    Parameters
    ----------
    layer
        The layer that is explained.
    wanted
        The layer that was asked for; an error there is raised, not passed over.
    samples
        Some samples, on which layers are tried.
    """
    if not {"activations", "gradients"} <= classifier.can:
        return None
    few = samples.take(slice(2))
    if wanted:
        return _space(classifier.open(wanted), wanted, few)
    for name in (*reversed(classifier.layers), layer):
        try:
            probe = classifier.open(name)
            if name == layer or probe.activations(few).ndim == 2:
                return _space(probe, name, few)
        except XcoreError:  # not a cut, or not one tensor: another layer may be
            continue
    return None


def _space(probe: Probe, layer: str, few: Samples) -> Space:
    a = probe.activations(few)
    shape = tuple(a.shape[1:])
    with torch.no_grad():
        true = probe.head(a)
    if a.ndim == 2:
        found = _affine(probe, a, true)
        if found is not None:
            weight, bias = found
            # Coordinates in the row space of the weights; as many as the head can tell apart.
            u, s, v = torch.linalg.svd(weight, full_matrices=False)
            rank = max(1, int((s > s[0] * 1e-6).sum())) if len(s) else 1
            into, out = (u[:, :rank] * s[:rank]), v[:rank]
            return Space(layer, probe, lambda x: x @ into, lambda z: z @ out + bias, True)
    return Space(layer, probe, lambda x: x.flatten(1), lambda z: probe.head(z.reshape(-1, *shape)), False)


def _affine(probe: Probe, a: Tensor, true: Tensor) -> tuple[Tensor, Tensor] | None:
    """Weight (F, classes) and bias of the head, if it is affine."""
    with torch.no_grad():
        origin = probe.head(torch.zeros_like(a[:1]))
        # Steps as large as the features are, so that rounding does not count; a mixture of rows is the test.
        step = max(float(a.abs().max()), 1e-3)
        weight = (probe.head(step * torch.eye(a.shape[1])) - origin) / step
        mixed = 2 * a[:1] - 0.5 * a[-1:]
        for x, y in ((a, true), (mixed, probe.head(mixed)), (-a, probe.head(-a))):
            if float((x @ weight + origin - y).abs().max()) > CLOSE * max(1.0, float(y.abs().max())):
                return None
    return weight, origin[0]
