"""The per-input equivalent (PIE) of a model: a linear map from coalitions to features, then the model's own head.

Sun et al. (Explain Any Concept, NeurIPS 2023) fit the map by stochastic gradient descent on the cross entropy of the
class probability, through the frozen head. Here the descent starts from the linear least-squares fit of the features
of the evaluated coalitions, which is exact for no player and for all, is full-batch Adam, and is shared by all images:
their maps are independent, so one pass through the head serves them all.
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

NUMBERS = 2**24
"""Features of coalitions that a step of the descent holds at once."""
RATE = 0.1
"""Of Adam, in units of the spread of an image's features."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What is known of one image.

    Parameters
    ----------
    coalitions
        (m, n) bool; the first row is empty, the last holds all players.
    features
        (m, F) of the model.
    values
        (m,) of the model.
    """

    coalitions: Bools
    features: Tensor
    values: Floats


def start(known: Evaluated) -> Tensor:
    """(n + 1, F) weights, the last row the bias: least squares of the features, exact at both ends."""
    features = known.features.double().numpy()
    bias, whole = features[0], features[-1] - features[0]
    x, y = known.coalitions[1:-1].astype(np.float64), features[1:-1] - bias
    last = x[:, -1:]  # all weights add up to `whole`: the last one is what the others leave
    free = np.linalg.lstsq(x[:, :-1] - last, y - last * whole, rcond=None)[0]
    rows = [free, whole[None] - free.sum(axis=0, keepdims=True), bias[None]]
    return torch.from_numpy(np.concatenate(rows)).float()


def fit(known: Sequence[Evaluated], output: Callable[[Tensor], Tensor], steps: int, *, bounded: bool) -> list[Tensor]:
    """Weights (n + 1, F) of every image, by descent from `start`.

    Parameters
    ----------
    output
        Features (rows, F) -> values (rows,), differentiable: the model's head and the class's probability or logit.
    steps
        Of the descent; 0 = the least-squares fit of the features alone.
    bounded
        Whether values are probabilities: cross entropy; else squares, in units of an image's variance.
    """
    made: list[Tensor] = []
    group: list[Evaluated] = []
    for one in known:
        rows = max(len(k.values) for k in [*group, one])
        if group and (len(group) + 1) * rows * one.features.shape[1] > NUMBERS:
            made += _descend(group, output, steps, bounded)
            group = []
        group.append(one)
    return made + (_descend(group, output, steps, bounded) if group else [])


def _descend(group: Sequence[Evaluated], output: Callable[[Tensor], Tensor], steps: int, bounded: bool) -> list[Tensor]:
    begin = [start(k) for k in group]
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
        """(images,) what each image's map at `at` misses."""
        got = output((x @ at).flatten(0, 1)).reshape(target.shape)
        if bounded:
            got = got.clamp(1e-6, 1 - 1e-6)
            return ((target * got.log() + (1 - target) * (1 - got).log()) * -share).sum(1)
        return ((got - target) ** 2 * share).sum(1)

    with torch.enable_grad():
        step = torch.zeros_like(weights, requires_grad=True)
        descent = torch.optim.Adam([step], lr=RATE)
        for i in range(steps):
            descent.param_groups[0]["lr"] = RATE * (1 - i / steps)  # to rest where it is best, not to hover around it
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
    step = max(1, NUMBERS // weights.shape[1])
    with torch.no_grad():
        parts = [output(x[i : i + step] @ weights[:-1] + weights[-1]) for i in range(0, len(x), step)]
    return torch.cat(parts).double().numpy()


def r_squared(predicted: Floats, true: Floats) -> float:
    """Share of the variance of `true` that is predicted, at most 1; 1 where nothing varies and nothing is missed."""
    error, total = float(((predicted - true) ** 2).sum()), float(((true - true.mean()) ** 2).sum())
    tiny = 1e-10 * max(1.0, float((true**2).sum()))
    if total <= tiny:
        return 1.0 if error <= tiny else 0.0
    return 1 - error / total
