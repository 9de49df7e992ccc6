"""Total Sobol indices of any function on the unit cube.

The total index of input i is the share of the output's variance that is lost when every other input is known,
``E[Var(y | m without m_i)] / Var(y)``. Jansen's estimator needs a design A and, for each i, a copy of A with column i
drawn anew; the second design itself is never evaluated, so the price is n (k + 1) evaluations.

Sources: Jansen 1999, Comput. Phys. Commun. 117; Saltelli et al. 2010, Comput. Phys. Commun. 181, table 2 (f).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from xcore.errors import UsageError

Array = NDArray[np.float64]
Sampler = Literal["sobol", "halton"]


def designs(k: int, n: int, seed: int | Sequence[int] = 0, sampler: Sampler = "sobol") -> tuple[Array, Array]:
    """The points at which a function must be evaluated.

    Parameters
    ----------
    k
        Number of inputs, >= 1.
    n
        Number of design points; a power of two for ``sobol``, else the points are not balanced.
    seed
        Seed, or a sequence of seeds, of the scrambling.
    sampler
        ``sobol``: scrambled Sobol points. ``halton``: unscrambled Halton points as in CRAFT's released code, whose
        first point is the origin and whose columns are correlated, so that the indices depend on the inputs' order.

    Returns
    -------
    a : (n, k) in [0, 1]
    c : (k, n, k); ``c[i]`` is `a` with column i from the second design

    Raises
    ------
    UsageError
        If n is no power of two for ``sobol``.
    """
    if sampler == "sobol":
        if n < 2 or n & (n - 1):
            raise UsageError(
                f"scrambled Sobol points need a power of two, got {n}", f"nearest: {2 ** max(1, n.bit_length() - 1)}"
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
    indices : (k,) >= 0; all 0 if the output does not vary beyond single-precision rounding
    variance : Var(y_a) with n - 1 degrees of freedom, in squared units of y; 0 if it does not vary
    """
    variance = float(np.var(y_a, ddof=1))
    rounding = (1e-6 * float(np.abs(y_a).max())) ** 2
    if variance <= rounding:
        return np.zeros(len(y_c)), 0.0
    return np.mean((y_a - y_c) ** 2, axis=1) / (2.0 * variance), variance


def total_indices(
    f: Callable[[Array], Array], k: int, n: int = 32, seed: int | Sequence[int] = 0, sampler: Sampler = "sobol"
) -> Array:
    """(k,) total Sobol indices of `f`, which maps (rows, k) points of the unit cube to (rows,) outputs."""
    a, c = designs(k, n, seed, sampler)
    y = np.asarray(f(np.concatenate([a, c.reshape(k * n, k)])), dtype=np.float64)
    return jansen(y[:n], y[n:].reshape(k, n))[0]
