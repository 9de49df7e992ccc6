"""Total Sobol indices by regression: with fewer evaluations than pick-freeze, and exact for affine functions.

Legendre polynomials are orthogonal on the unit cube, so the variance of a function is the sum of the squares of its
coefficients, and the total index of input i is the share of those that belong to polynomials with i in them. Here the
polynomials have degree 1 and 2: two for each input, and the product of each pair. Their coefficients are those of a
ridge regression on scrambled Sobol points; of the penalties that are tried, the one with the smallest error at points
that are left out is taken. Kernels stand for the features, so that many inputs cost no more than many points.

A function that has the values of an affine one at some points, as the head behind the last map of most networks has,
needs no regression: its indices follow from its slopes. A function of which the polynomials miss more than half is left
to Jansen's estimator.

Source: Sudret 2008, Reliab. Eng. Syst. Saf. 93, section 4 (indices from the coefficients of orthogonal polynomials).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xcore_craft.sobol import Sampler, designs, is_rounding, jansen

Array = NDArray[np.float64]

SHARE = 6
"""The regression needs this many times fewer points than pick-freeze needs evaluations."""
PROBES = 8
"""At how many points a function must have the values of an affine one to be taken for it."""
AFFINE = 1e-3
"""How far these values may be off, in standard deviations of the function."""
MOST_MISSED = 0.5
"""If polynomials miss more of the variance at points that are left out, Jansen's estimator takes over."""
LINEAR, SQUARE, PRODUCT = 30.0, 3.0, 1.0
"""How large the squares of the coefficients are expected to be, relative to each other."""
PENALTIES = np.geomspace(1e-6, 1, 25)
"""Ridge penalties that are tried, as fractions of the largest eigenvalue of the kernel."""


@dataclass(frozen=True, eq=False)
class Corners:
    """Values of a function at corners of the unit cube: what all inputs give, none, and all but one."""

    full: float
    empty: float
    without: Array
    """(k,)"""

    @property
    def drops(self) -> Array:
        """(k,) what is lost without each input: the slopes, if the function is affine."""
        return self.full - self.without


@dataclass(frozen=True, eq=False)
class Fit:
    """What the polynomials say of a function."""

    parts: Array
    """(k,) variance of the polynomials with each input in them."""
    variance: float
    missed: float
    """Mean square of the errors at points that are left out, as a share of it and the variance together."""


def indices_by_regression(
    f: Callable[[Array], Array], corners: Corners, n: int, seed: int | Sequence[int] = 0, sampler: Sampler = "sobol"
) -> tuple[Array, float]:
    """Total Sobol indices of a function of k >= 1 inputs.

    Parameters
    ----------
    f
        Maps points (rows, k) of the unit cube to outputs (rows,). It is called at most three times.
    corners
        Its values at the corners.
    n
        Number of design points of the pick-freeze estimator whose error the regression should not exceed; it takes a
        sixth of the evaluations, rounded up to a power of two.
    seed, sampler
        See `xcore_craft.sobol.designs`.

    Returns
    -------
    indices : (k,) >= 0; all 0 if the output varies by no more than rounding in single precision
    variance : of the output, in its squared units; 0 if it does not vary
    """
    k = len(corners.without)
    count = points_needed(k, n)
    a, c = designs(k, max(n, count), seed, sampler)
    x = a[:count]
    y = np.asarray(f(x[:PROBES]), dtype=np.float64)
    if (exact := _if_affine(corners, x[:PROBES], y)) is not None:
        return exact
    y = np.concatenate([y, f(x[PROBES:])]) if count > PROBES else y
    if is_rounding(y):
        return np.zeros(k), 0.0
    fitted = fit(x, y)
    if fitted.missed <= MOST_MISSED:
        return fitted.parts / fitted.variance, fitted.variance
    rows = np.concatenate([a[count:n], c[:, :n].reshape(-1, k)])
    rest = np.asarray(f(rows), dtype=np.float64)
    more = max(n - count, 0)
    return jansen(np.concatenate([y, rest[:more]])[:n], rest[more:].reshape(k, n))


def points_needed(k: int, n: int) -> int:
    """How many points stand for n (k + 1) evaluations of pick-freeze: the power of two above a sixth of them."""
    return int(2 ** np.ceil(np.log2(max(2, n * (k + 1) / SHARE))))


def _if_affine(corners: Corners, x: Array, y: Array) -> tuple[Array, float] | None:
    """Indices and variance of an affine function; None if the corners or the points show that it is none."""
    parts = corners.drops**2 / 12
    variance = float(parts.sum())
    ends = np.array([corners.full, corners.empty])
    if variance <= 0 or is_rounding(np.concatenate([ends, corners.without])):
        return None
    seen = np.concatenate([[corners.full], y])
    predicted = corners.empty + np.concatenate([[corners.drops.sum()], x @ corners.drops])
    return (parts / variance, variance) if np.abs(seen - predicted).max() <= AFFINE * variance**0.5 else None


def fit(x: Array, y: Array) -> Fit:
    """Ridge regression of outputs (n,) on the polynomials at points (n, k).

    The errors at points that are left out follow from the whole fit: each is the error there over one minus the weight
    that the point has in its own prediction (Allen's PRESS).
    """
    n = len(x)
    z, square = 2 * x - 1, (3 * (2 * x - 1) ** 2 - 1) / 2
    products = ((z @ z.T) ** 2 - (z**2) @ (z**2).T) / 2
    kernel = 3 * LINEAR * (z @ z.T) + 5 * SQUARE * (square @ square.T) + 9 * PRODUCT * products
    kernel -= kernel.mean(0)
    kernel -= kernel.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0)
    penalties = PENALTIES * values.max()
    shrunk = penalties[:, None] / (values + penalties[:, None])
    q = vectors.T @ (y - y.mean())
    own = np.maximum(shrunk @ (vectors**2).T - 1 / n, 1e-9)
    press = np.mean(((shrunk * q) @ vectors.T / own) ** 2, axis=1)
    best = int(press.argmin())
    weights = vectors @ (q / (values + penalties[best]))

    linear, squares = LINEAR * 3**0.5 * (z.T @ weights), SQUARE * 5**0.5 * (square.T @ weights)
    pairs = PRODUCT * 3 * (z.T * weights) @ z
    np.fill_diagonal(pairs, 0)
    alone, together = linear**2 + squares**2, (pairs**2).sum(1)
    variance = float(alone.sum() + together.sum() / 2)
    return Fit(alone + together, variance, float(press[best] / (press[best] + variance)))
