"""The value function of the cooperative game of `eac`: the classifier's output for the image of a coalition.

The surrogate (`xcore_eac.surrogate`) also needs features of these images, read at a `FeatureLayer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.contract import Classifier, Probe, Samples, Task, XcoreError
from xcore.models.outputs import probabilities, scores_of

AFFINE_TOLERANCE = 1e-5
"""A head is affine if an affine map reproduces its output up to this share of the largest value."""
LOGITS = "logits"
"""The name of the layer where features are the logits themselves."""


@dataclass(frozen=True, eq=False)
class FeatureLayer:
    """Features of samples at a layer, and the logits that the classifier's own head computes from them.

    Where the head is affine, as behind a pooling layer, the features are coordinates in the row space of its weights.
    They give the same surrogates, without the part of the features that does not change the logits.
    """

    layer: str
    features: Callable[[Samples], Tensor]
    """Samples -> (n, F)."""
    head: Callable[[Tensor], Tensor]
    """(n, F) -> (n, classes), differentiable."""
    affine: bool
    """Whether the head is affine."""


def find_feature_layer(classifier: Classifier, wanted: str, samples: Samples) -> FeatureLayer | None:
    """The layer at which a surrogate is fitted; None if the classifier gives no activations and gradients.

    This is `wanted`, if it is given. Otherwise it is the last layer before the logits that gives one position, as
    pooling does. If there is none, it is the logits themselves, which give the same surrogates as the features before
    an affine head.

    Parameters
    ----------
    wanted
        Name of a layer, or "" for no wish.
    samples
        Some samples on which layers are tried.

    Raises
    ------
    UsageError, XcoreError
        There is no layer `wanted`, or the logits cannot be computed from its activations alone.
    """
    if not {"activations", "gradients"} <= classifier.can:
        return None
    few = samples.take(slice(2))
    if wanted:
        return _feature_layer(classifier.open(wanted), wanted, few)
    logits = classifier.logits(few)
    for name in reversed(classifier.layers):
        try:
            probe = classifier.open(name)
            rows = probe.activations(few).flatten(1)
            pooled = rows.shape[1] == probe.activations(few).shape[1]
            if pooled and not (rows.shape == logits.shape and torch.allclose(rows, logits)):
                return _feature_layer(probe, name, few)
        except XcoreError:  # not a cut of the graph, or not one tensor; another layer may be
            continue
    return FeatureLayer(LOGITS, classifier.logits, lambda rows: rows, True)


def _feature_layer(probe: Probe, layer: str, few: Samples) -> FeatureLayer:
    a = probe.activations(few)
    shape = tuple(a.shape[1:])

    def head(rows: Tensor) -> Tensor:
        return probe.head(rows.reshape(-1, *shape))

    def features(samples: Samples) -> Tensor:
        return probe.activations(samples).flatten(1)

    affine = _affine_map(head, a.flatten(1)) if a.ndim == 2 or a[0, 0].numel() == 1 else None
    if affine is None:
        head(a.flatten(1))  # raises for a layer that is no cut of the graph
        return FeatureLayer(layer, features, head, False)
    weight, bias = affine
    # Coordinates in the row space of the weights: as many as the head can tell apart.
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    rank = max(1, int((s > s[0] * 1e-6).sum()))
    into, out = u[:, :rank] * s[:rank], v[:rank]
    return FeatureLayer(layer, lambda samples: features(samples) @ into, lambda rows: rows @ out + bias, True)


def _affine_map(head: Callable[[Tensor], Tensor], a: Tensor) -> tuple[Tensor, Tensor] | None:
    """Weight (F, classes) and bias (classes,) of the head if it is affine, otherwise None."""
    with torch.no_grad():
        origin = head(torch.zeros_like(a[:1]))
        # Steps as large as the features are, so that rounding does not count; it is tested on rows far from them.
        step = max(float(a.abs().max()), 1e-3)
        weight = (head(step * torch.eye(a.shape[1])) - origin) / step
        for x in (a, 8 * a, -8 * a):
            y = head(x)
            if float((x @ weight + origin - y).abs().max()) > AFFINE_TOLERANCE * float(y.abs().max()):
                return None
    return weight, origin[0]


class ValueFunction:
    """The output of a task's classifier for the target class; counts the forward and backward passes.

    Parameters
    ----------
    output
        "probability": softmax of the logits, or the sigmoid of each where classes do not exclude one another. Scores
        that are probabilities already are taken as they are: a black box may return them, and then none is negative and
        every row sums to 1.
    feature_layer
        Where features are read; None if they are not.
    """

    def __init__(self, task: Task, output: Literal["probability", "logit"], feature_layer: FeatureLayer | None) -> None:
        self._classifier, self._target, self._feature_layer = task.classifier, task.target, feature_layer
        self.bounded = output == "probability"
        scores = task.classifier.logits(task.samples)
        sums = scores.sum(1)
        normal = bool((scores >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())
        self._softmax = self.bounded and not (normal and scores.shape[1] > 1)
        self.forwards, self.backwards = len(scores), 0

    @property
    def layer(self) -> str | None:
        """Name of the layer where features are read."""
        return self._feature_layer.layer if self._feature_layer else None

    @property
    def affine(self) -> bool:
        """Whether the head above the features is affine, which lets a surrogate be fitted without its modules."""
        return self._feature_layer is not None and self._feature_layer.affine

    def of_features(self, rows: Tensor) -> Tensor:
        """(m,) values of features (m, F); differentiable."""
        if self._feature_layer is None:
            raise RuntimeError("no features were read")
        return self._output(self._feature_layer.head(rows))

    def of_images(
        self, batches: Iterator[Tensor], name: str, *, with_features: bool = False
    ) -> tuple[NDArray[np.float64], Tensor | None]:
        """Values (m,) of images, and their features (m, F) if they are asked for and there is a feature layer.

        Parameters
        ----------
        batches
            Images (., 3, H, W).
        name
            Id of the image from which they were made.
        """
        values: list[Tensor] = []
        rows: list[Tensor] = []
        for batch in batches:
            ids = tuple(f"{name}#{self.forwards + i}" for i in range(len(batch)))
            samples = Samples("image", batch, ids)
            self.forwards += len(batch)
            if self._feature_layer is None or not with_features:
                values.append(self._output(self._classifier.logits(samples)))
                continue
            features = self._feature_layer.features(samples)
            rows.append(features)
            with torch.no_grad():
                values.append(self.of_features(features))
        return torch.cat(values).double().numpy(), torch.cat(rows) if rows else None

    def _output(self, scores: Tensor) -> Tensor:
        return (probabilities(scores, scores_of(self._classifier)) if self._softmax else scores)[:, self._target]
