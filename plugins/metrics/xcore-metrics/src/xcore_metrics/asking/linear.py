"""One ridge map from concept scores to the logits of all classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from xcore_evidence.ridge import FOLDS, PENALTIES


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A map (n, k) -> (n, c): standardised columns times weights, plus the mean of what it was fitted to."""

    centre: Tensor
    spread: Tensor
    weights: Tensor
    mean: Tensor
    penalty: float
    """Strength of the ridge per row, chosen by cross-validation."""

    def __call__(self, x: Tensor) -> Tensor:
        """The mapped rows, in double precision."""
        found: Tensor = (x.double() - self.centre) / self.spread @ self.weights + self.mean
        return found


def fit_map(x: Tensor, y: Tensor, seed: int = 0) -> LinearMap:
    """Fit y (n, c) by ridge regression on the standardised columns of x (n, k).

    The penalty is that of `PENALTIES` whose squared error over all columns of y is least on rows that are left out, one
    fifth after another. A constant column has no weight.

    Parameters
    ----------
    seed
        Of the assignment of rows to the five parts.
    """
    x, y = x.double(), y.double()
    centre, spread = x.mean(0), x.std(0, correction=0)
    spread = torch.where(spread > 1e-12 * x.abs().amax(0).clamp_min(1e-300), spread, torch.inf)
    z = (x - centre) / spread
    fold = torch.from_numpy(np.random.default_rng([seed, 72]).permutation(len(z)) % FOLDS)
    errors = torch.zeros(len(PENALTIES), dtype=torch.double)
    for out in range(FOLDS):
        held = fold == out
        kept, mean = z[~held], y[~held].mean(0)
        middle = kept.mean(0)
        made = (z[held] - middle) @ _weights(kept - middle, y[~held] - mean) + mean
        errors += (made - y[held]).square().sum((1, 2))
    best = int(errors.argmin())
    return LinearMap(centre, spread, _weights(z, y - y.mean(0))[best], y.mean(0), PENALTIES[best])


def _weights(z: Tensor, y: Tensor) -> Tensor:
    """(penalties, k, c) ridge coefficients of centred y on centred z, for every penalty by one decomposition."""
    values, vectors = torch.linalg.eigh(z.T @ z / len(z))
    moved = vectors.T @ (z.T @ y / len(z))
    shrunk = torch.stack([moved / (values.clamp_min(0) + p)[:, None] for p in PENALTIES])
    found: Tensor = vectors @ shrunk
    return found
