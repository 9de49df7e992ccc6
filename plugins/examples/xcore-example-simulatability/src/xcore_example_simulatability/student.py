"""The student: a logistic regression with a ridge, taught on some images and examined on others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 25
"""Newton's method on this problem is done after about ten."""


def taught(features: Tensor, decisions: Tensor, ridge: float) -> Tensor:
    """Weights (d + 1,) of features (n, d) and, last, the intercept, which the ridge leaves alone.

    Both decisions weigh the same, however rare one is.
    """
    x = torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    y = decisions.to(x.dtype)
    each = torch.where(decisions, 0.5 / y.sum(), 0.5 / (1 - y).sum()) * len(y)
    held = ridge * torch.eye(x.shape[1], dtype=x.dtype)
    held[-1, -1] = 1e-6
    weights = torch.zeros(x.shape[1], dtype=x.dtype)
    for _ in range(STEPS):
        p = (x @ weights).sigmoid()
        gradient = x.T @ (each * (p - y)) + held @ weights
        curvature = x.T @ (x * (each * p * (1 - p))[:, None]) + held
        weights = weights - torch.linalg.solve(curvature, gradient)
    return weights


def exam(features: Tensor, decisions: Tensor, lessons: Tensor, ridge: float) -> float:
    """Balanced accuracy of a student on the images that are no lessons."""
    centre, scale = features[lessons].mean(dim=0), features[lessons].std(dim=0).clamp_min(1e-9)
    z = (features - centre) / scale
    weights = taught(z[lessons], decisions[lessons], ridge)
    right = ((z @ weights[:-1] + weights[-1]) > 0) == decisions
    parts = [right[~lessons & (decisions == decision)].double().mean() for decision in (True, False)]
    return float(sum(parts) / 2)


def halves(decisions: Tensor, splits: int, seed: int) -> list[Tensor]:
    """Divisions into lessons (True) and exam, each with half of both decisions."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(splits):
        lessons = torch.zeros(len(decisions), dtype=torch.bool)
        for decision in (True, False):
            (those,) = (decisions == decision).nonzero(as_tuple=True)
            lessons[those[torch.randperm(len(those), generator=generator)[: len(those) // 2]]] = True
        found.append(lessons)
    return found
