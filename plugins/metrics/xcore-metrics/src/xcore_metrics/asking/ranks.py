"""How often the activations of one set are above those of another, with an interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 500
"""Bootstrap draws."""


def wins(a: Floats, b: Floats) -> Floats:
    """(m, n) 1 where a_i > b_j, 1/2 where they are equal, otherwise 0; the mean is the AUC of a above b."""
    found: Floats = (a[:, None] > b).astype(float) + 0.5 * (a[:, None] == b)
    return found


def bootstrapped_auc(won: Floats, rng: np.random.Generator) -> Floats:
    """(DRAWS,) means of `wins` (m, n) over samples that are drawn with replacement on both sides."""
    m, n = won.shape
    rows = rng.multinomial(m, np.full(m, 1 / m), DRAWS)
    columns = rng.multinomial(n, np.full(n, 1 / n), DRAWS)
    found: Floats = ((rows @ won) * columns).sum(1) / (m * n)
    return found


def mean_difference(a: Floats, b: Floats) -> float | None:
    """(mean a - mean b) / sd b, which CoSy calls MAD; None if b does not vary."""
    spread = float(b.std())
    return float(a.mean() - b.mean()) / spread if spread > 0 else None
