"""Tests of many effects at once: one-sided p-values, Holm's correction, signed marks; and intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the family-wise error rate (Holm 1979), in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return [float(q) for q in adjusted]


def signed_marks(p: Sequence[float], p_against: Sequence[float], alpha: float) -> tuple[list[int], list[float]]:
    """Marks of effects that are tested on each side, and the adjusted p-value of the nearer side.

    Parameters
    ----------
    p, p_against
        One-sided p-values of a raising and of a lowering effect, in [0, 1].
    alpha
        Family-wise error rate of each side, in (0, 1).

    Returns
    -------
    +1 (raises), -1 (lowers) or 0 (neither) for each effect, and its p-value by Holm's correction over its side.
    """
    up, down = holm(p), holm(p_against)
    marks = [1 if u <= alpha and u <= d else -1 if d <= alpha else 0 for u, d in zip(up, down, strict=True)]
    return marks, [min(u, d) for u, d in zip(up, down, strict=True)]


def one_sided(t: Sequence[float], degrees: float) -> tuple[list[float], list[float]]:
    """One-sided p-values (raises, lowers) of t statistics; 1 and 1 where a statistic is not a number."""
    from scipy.special import stdtr

    values = np.asarray(t, dtype=float)
    up = np.where(np.isnan(values), 1.0, stdtr(degrees, -values))
    down = np.where(np.isnan(values), 1.0, stdtr(degrees, values))
    return [float(v) for v in up], [float(v) for v in down]


def unskewed(t: float, skew: float) -> float:
    """A t statistic whose estimate is skewed, moved so that it is nearly symmetric; it grows with t, and keeps its sign
    but near 0.

    Margins are skewed, as few samples are of the class, and so is the presence of phrases. Without this, marks of one
    side are too many and those of the other too few (docs/methods/surrogate.md).

    Parameters
    ----------
    skew
        Skewness of the estimate's distribution.

    References
    ----------
    Hall, On the removal of skewness by transformation, Journal of the Royal Statistical Society B 1992.
    """
    return t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6


def wilson(k: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of k of n > 0 independent cases.

    k need not be whole: of eight classes each of which has a share of 1/3, the share is that of 8/3 of 8 cases.

    Examples
    --------
    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    z = 1.959963984540054
    middle = (k + z * z / 2) / (n + z * z)
    half = z * (k * (n - k) / n + z * z / 4) ** 0.5 / (n + z * z)
    return max(0.0, middle - half), min(1.0, middle + half)


def half_width(error: float, degrees: float, level: float = 0.95) -> float:
    """Half of a t interval of this coverage."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2)) * error
