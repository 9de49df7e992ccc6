"""The per-input equivalent (PIE) of a model: a linear map from coalitions to features, then the model's own head.

Sun et al. (Explain Any Concept, NeurIPS 2023) fit the map by stochastic gradient descent on the cross-entropy of the
class probability, through the frozen head. Here the descent is full-batch Adam and starts from a least-squares fit of
the features of the evaluated coalitions that is exact for the empty and for the full coalition. All images are fitted
together: their maps are independent, so one pass through the head serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAX_ELEMENTS = 2**24
"""Tensor elements of the features of coalitions in one step of the descent."""
LEARNING_RATE = 0.1
"""Of Adam, in units of the standard deviation of an image's features."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Observations coalitions of the segments of one image.

    Parameters
    ----------
    coalitions
        (m, n) bool; the first row is the empty coalition, the last one the full coalition.
    features
        (m, F) features that the model computes.
    values
        (m,) values that the model gives.
    """

    coalitions: Bools
    features: Tensor
    values: Floats


def least_squares(known: Observations) -> Tensor:
    """(n + 1, F) weights, with the bias in the last row, that fit the features by least squares.

    The fit is exact for the empty and for the full coalition.
    """
    features = known.features.double().numpy()
    bias, whole = features[0], features[-1] - features[0]
    x, y = known.coalitions[1:-1].astype(np.float64), features[1:-1] - bias
    last = x[:, -1:]  # all weights add up to `whole`, so the last one follows from the others
    free = np.linalg.lstsq(x[:, :-1] - last, y - last * whole, rcond=None)[0]
    rows = [free, whole[None] - free.sum(axis=0, keepdims=True), bias[None]]
    return torch.from_numpy(np.concatenate(rows)).float()


def fit(
    known: Sequence[Observations], output: Callable[[Tensor], Tensor], steps: int, *, bounded: bool
) -> list[Tensor]:
    """Weights (n + 1, F) of every image, by gradient descent from `least_squares`.

    Parameters
    ----------
    output
        Features (rows, F) -> values (rows,), differentiable: the model's head, then the class's probability or logit.
    steps
        Steps of the descent; 0 = the least-squares fit alone.
    bounded
        True: values are probabilities, and the loss is the cross-entropy. False: the loss is the squared error in
        units of the variance of an image's values.
    """
    made: list[Tensor] = []
    group: list[Observations] = []
    for one in known:
        rows = max(len(k.values) for k in [*group, one])
        if group and (len(group) + 1) * rows * one.features.shape[1] > MAX_ELEMENTS:
            made += _descend(group, output, steps, bounded)
            group = []
        group.append(one)
    return made + (_descend(group, output, steps, bounded) if group else [])


def _descend(
    group: Sequence[Observations], output: Callable[[Tensor], Tensor], steps: int, bounded: bool
) -> list[Tensor]:
    begin = [least_squares(k) for k in group]
    if not steps:
        return begin
    rows, players = (max(k.coalitions.shape[axis] for k in group) for axis in (0, 1))
    x = torch.zeros(len(group), rows, players + 1)
    weights = torch.zeros(len(group), players + 1, group[0].features.shape[1])
    target, share, scale = torch.zeros(len(group), rows), torch.zeros(len(group), rows), torch.ones(len(group), 1, 1)
    for i, (k, w) in enumerate(zip(group, begin, strict=True)):
        m, n = k.coalitions.shape
        x[i, :m, :n], x[i, :m, -1] = torch.from_numpy(k.coalitions), 1
        weights[i, :n], weights[i, -1] = w[:-1], w[-1]
        target[i, :m] = torch.from_numpy(k.values)
        spread = float(k.values.var())
        share[i, :m] = 1 / m if bounded else 1 / (m * spread) if spread > 0 else 0
        scale[i] = k.features.std(0, correction=0).mean().clamp_min(1e-6)

    def losses(at: Tensor) -> Tensor:
        """(images,) loss of each image with the weights `at`."""
        got = output((x @ at).flatten(0, 1)).reshape(target.shape)
        if bounded:
            got = got.clamp(1e-6, 1 - 1e-6)
            return ((target * got.log() + (1 - target) * (1 - got).log()) * -share).sum(1)
        return ((got - target) ** 2 * share).sum(1)

    with torch.enable_grad():
        step = torch.zeros_like(weights, requires_grad=True)
        descent = torch.optim.Adam([step], lr=LEARNING_RATE)
        for i in range(steps):
            descent.param_groups[0]["lr"] = LEARNING_RATE * (
                1 - i / steps
            )  # decays to 0, so that it settles at the optimum
            (step.grad,) = torch.autograd.grad(losses(weights + scale * step).sum(), step)
            descent.step()
    final = (weights + scale * step).detach()
    with torch.no_grad():
        better = losses(final) < losses(weights)
    final = torch.where(better[:, None, None], final, weights)
    return [torch.cat([final[i, : k.coalitions.shape[1]], final[i, -1:]]) for i, k in enumerate(group)]


def predict(weights: Tensor, coalitions: Bools, output: Callable[[Tensor], Tensor]) -> Floats:
    """(m,) values that the surrogate gives to coalitions (m, n)."""
    x = torch.from_numpy(coalitions).float()
    step = max(1, MAX_ELEMENTS // weights.shape[1])
    with torch.no_grad():
        parts = [output(x[i : i + step] @ weights[:-1] + weights[-1]) for i in range(0, len(x), step)]
    return torch.cat(parts).double().numpy()


def r_squared(predicted: Floats, true: Floats) -> float:
    """R^2: share of the variance of `true` that is predicted, at most 1.

    If `true` does not vary, it is 1 for an exact prediction and 0 otherwise.
    """
    error, total = float(((predicted - true) ** 2).sum()), float(((true - true.mean()) ** 2).sum())
    tiny = 1e-10 * max(1.0, float((true**2).sum()))
    if total <= tiny:
        return 1.0 if error <= tiny else 0.0
    return 1 - error / total
