"""Where the surrogate lives: the features before the model's own head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xcore.errors import XcoreError
from xcore.protocols import Classifier, Probe
from xcore.samples import Samples

CLOSE = 1e-5
"""An affine head reproduces its own output up to this share of it."""
LOGITS = "logits"


@dataclass(frozen=True, eq=False)
class Space:
    """Features of samples, and the logits that the model's own head makes of them.

    Where the head is affine, as behind a pooling layer, features are their coordinates in the row space of its weights:
    the same surrogates, and nothing left to compute that the logits do not see.
    """

    layer: str
    read: Callable[[Samples], Tensor]
    """Samples -> (n, F)."""
    logits: Callable[[Tensor], Tensor]
    """(n, F) -> (n, classes), differentiable."""
    affine: bool


def find(classifier: Classifier, wanted: str, samples: Samples) -> Space | None:
    """The space at the layer that is asked for; else at the last layer before the logits that gives one position, as
    pooling does; else at the logits themselves, which gives the same surrogates as features before an affine head.

    None if the classifier shows no activations and gradients.

    Parameters
    ----------
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
    logits = classifier.logits(few)
    for name in reversed(classifier.layers):
        try:
            probe = classifier.open(name)
            rows = probe.activations(few).flatten(1)
            pooled = rows.shape[1] == probe.activations(few).shape[1]
            if pooled and not (rows.shape == logits.shape and torch.allclose(rows, logits)):
                return _space(probe, name, few)
        except XcoreError:  # not a cut, or not one tensor: another layer may be
            continue
    return Space(LOGITS, classifier.logits, lambda rows: rows, True)


def _space(probe: Probe, layer: str, few: Samples) -> Space:
    a = probe.activations(few)
    shape = tuple(a.shape[1:])

    def head(rows: Tensor) -> Tensor:
        return probe.head(rows.reshape(-1, *shape))

    def read(samples: Samples) -> Tensor:
        return probe.activations(samples).flatten(1)

    found = _affine(head, a.flatten(1)) if a.ndim == 2 or a[0, 0].numel() == 1 else None
    if found is None:
        head(a.flatten(1))  # raises for a layer that is no cut
        return Space(layer, read, head, False)
    weight, bias = found
    # Coordinates in the row space of the weights: as many as the head can tell apart.
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    rank = max(1, int((s > s[0] * 1e-6).sum()))
    into, out = u[:, :rank] * s[:rank], v[:rank]
    return Space(layer, lambda samples: read(samples) @ into, lambda rows: rows @ out + bias, True)


def _affine(head: Callable[[Tensor], Tensor], a: Tensor) -> tuple[Tensor, Tensor] | None:
    """Weight (F, classes) and bias of the head, if it is affine."""
    with torch.no_grad():
        origin = head(torch.zeros_like(a[:1]))
        # Steps as large as the features are, so that rounding does not count; rows far from them are the test.
        step = max(float(a.abs().max()), 1e-3)
        weight = (head(step * torch.eye(a.shape[1])) - origin) / step
        for x in (a, 8 * a, -8 * a):
            y = head(x)
            if float((x @ weight + origin - y).abs().max()) > CLOSE * float(y.abs().max()):
                return None
    return weight, origin[0]
