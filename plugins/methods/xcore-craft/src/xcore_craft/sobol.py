"""Total Sobol indices of any function on the unit cube.

The total index of input i is the share of the output's variance that remains when all other inputs are fixed,
``E[Var(y | m without m_i)] / Var(y)``. Jansen's estimator needs a design A of n points and, for each i, a copy of A in
which column i is replaced by that of a second design B. B itself is never evaluated, so n (k + 1) evaluations suffice.
`xcore_craft.regression` needs fewer.

Sources: Jansen 1999, Comput. Phys. Commun. 117; Saltelli et al. 2010, Comput. Phys. Commun. 181, table 2 (f).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from xcore.contract import UsageError

Array = NDArray[np.float64]
Sampler = Literal["sobol", "halton"]


def designs(k: int, n: int, seed: int | Sequence[int] = 0, sampler: Sampler = "sobol") -> tuple[Array, Array]:
    """The points at which a function must be evaluated.

    Parameters
    ----------
    k
        Number of inputs, >= 1.
    n
        Number of design points. For ``sobol`` it must be a power of two, otherwise the points are not balanced.
    seed
        Seed, or a sequence of seeds, of the scrambling.
    sampler
        ``sobol``: scrambled Sobol points. ``halton``: unscrambled Halton points as in CRAFT's released code. Their
        first point is the origin and their columns are correlated, so that the indices depend on the inputs' order.

    Returns
    -------
    a : (n, k) in [0, 1]
    c : (k, n, k) in [0, 1]; ``c[i]`` is `a` with column i from the second design

    Raises
    ------
    UsageError
        If n is not a power of two and the sampler is ``sobol``.
    """
    if sampler == "sobol":
        if n < 2 or n & (n - 1):
            below = 2 ** max(1, n.bit_length() - 1)
            raise UsageError(
                f"the number of Sobol design points must be a power of two, got {n}", f"use {below} or {2 * below}"
            )
        points = qmc.Sobol(2 * k, scramble=True, rng=np.random.default_rng(seed)).random(n)
    else:
        points = qmc.Halton(2 * k, scramble=False).random(n)
    a, b = points[:, :k], points[:, k:]
    c = np.repeat(a[None], k, axis=0)
    for i in range(k):
        c[i, :, i] = b[:, i]
    return a, c


def jansen(y_a: Array, y_c: Array) -> tuple[Array, float]:
    """Total indices from the outputs at the design points.

    Parameters
    ----------
    y_a
        (n,) outputs at `a`.
    y_c
        (k, n) outputs at `c`.

    Returns
    -------
    indices : (k,) >= 0; all 0 if the output varies by no more than rounding in single precision
    variance : Var(y_a) with n - 1 degrees of freedom, in squared units of y; 0 if the output does not vary
    """
    if is_rounding(y_a):
        return np.zeros(len(y_c)), 0.0
    variance = float(np.var(y_a, ddof=1))
    return np.mean((y_a - y_c) ** 2, axis=1) / (2.0 * variance), variance


def is_rounding(y: Array) -> bool:
    """Whether outputs vary by no more than rounding in single precision."""
    return float(np.var(y, ddof=1)) <= (1e-6 * float(np.abs(y).max())) ** 2


def indices_by_pick_freeze(
    f: Callable[[Array], Array], k: int, n: int, seed: int | Sequence[int] = 0, sampler: Sampler = "sobol"
) -> tuple[Array, float]:
    """Total indices (k,) of `f`, which maps points (rows, k) of the unit cube to outputs (rows,), and its variance.

    The other parameters are those of `designs`, the results those of `jansen`.
    """
    a, c = designs(k, n, seed, sampler)
    y = np.asarray(f(np.concatenate([a, c.reshape(k * n, k)])), dtype=np.float64)
    return jansen(y[:n], y[n:].reshape(k, n))


def total_indices(
    f: Callable[[Array], Array], k: int, n: int = 32, seed: int | Sequence[int] = 0, sampler: Sampler = "sobol"
) -> Array:
    """Total Sobol indices (k,) of `f` alone, see `indices_by_pick_freeze`."""
    return indices_by_pick_freeze(f, k, n, seed, sampler)[0]
