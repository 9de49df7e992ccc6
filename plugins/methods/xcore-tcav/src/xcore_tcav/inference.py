"""Statistics of concept scores: the set-level rank test, intervals, and the published t-test.

Holm's correction and signed marks are those of `xcore_evidence.statistics`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


TAIL = 10
"""Least number of the most extreme values of a null distribution that its tail is read from."""


def rank_p(value: float, null: Floats) -> tuple[float, float]:
    """One-sided p-values of a concept set among J random sets: of not being above them, and of not being below them.

    The first is p = (1 + #{j : t_j >= t}) / (J + 1), which is super-uniform at every J if the concept set is
    exchangeable with the random ones. The unit of inference is the concept *set*: a t-test over random sets uses the
    same concept samples R times and rejects far more often than its level.

    Ranks cannot give less than 1 / (J + 1), which Holm's correction over many concepts never lets pass. So beyond the
    most extreme random set the tail is taken for an exponential one: with u the (k + 1)-th largest t_j and S the sum of
    the k largest less u each, p = (k + 1) / (J + 1) * (1 + (t - u) / S) ** -k, which is exact for such a tail and too
    large for lighter ones, such as that of a normal distribution. It needs J >= 2 k, k = max(10, J / 10).

    Parameters
    ----------
    value
        Statistic of the concept set.
    null
        (J,) the same statistic of random sets of the same size, source, rendering and coherence; J >= 1.

    Returns
    -------
    (p, p_against)
        Each in (0, 1]; p is small where the concept is above the random sets, p_against where it is below them.
    """
    return _upper_p(value, null), _upper_p(-value, -null)


def _upper_p(value: float, null: Floats) -> float:
    above, j = int((null >= value).sum()), len(null)
    by_rank = (1 + above) / (j + 1)
    k = max(TAIL, j // 10)
    if above or j < 2 * k:
        return by_rank
    largest = np.sort(null)[::-1]
    excess = float((largest[:k] - largest[k]).sum())
    if excess <= 0:
        return by_rank
    return min(by_rank, float((k + 1) / (j + 1) * (1 + (value - largest[k]) / excess) ** -k))


def interval(values: Floats, weights: Floats, level: float = 0.95) -> tuple[float, float]:
    """Interval of the ratio mean(values) / mean(weights) over random sets (rows) and class images (columns).

    Both are random draws, and every image is combined with every set. So the variance of the mean is the variance of
    the row means / R plus that of the column means / m (two crossed random effects; their interaction is counted twice,
    which makes the interval wider). The ratio is linearised, and the degrees of freedom are Satterthwaite's. The
    interval holds for these concept samples; the null distribution of the rank test shows how much a set varies. With
    one image it is the interval over random sets for that image, which says nothing about others.

    Parameters
    ----------
    values
        (R, m), R >= 2 and m >= 1.
    weights
        (m,) weight of each image, such as the norm of its gradient.
    level
        Coverage, in (0, 1).

    Returns
    -------
    (low, high)
    """
    from scipy.special import stdtrit

    r, m = values.shape
    ratio = values.mean() / weights.mean()
    deviations = (values - ratio * weights) / weights.mean()
    rows = deviations.mean(1).var(ddof=1) / r
    columns = deviations.mean(0).var(ddof=1) / m if m > 1 else 0.0
    spread = rows + columns
    if spread == 0:
        return float(ratio), float(ratio)
    df = spread**2 / (rows**2 / (r - 1) + columns**2 / max(m - 1, 1))
    half = float(stdtrit(df, 0.5 + level / 2)) * float(np.sqrt(spread))
    return float(ratio - half), float(ratio + half)


def welch_p(scores: Floats, null: Floats) -> tuple[float, float]:
    """One-sided Welch t-tests of TCAV scores over random sets, after the published one (Kim et al. 2018, section 3.4).

    **Not calibrated**: all scores share the concept samples. For random concept samples it therefore rejects many times
    more often than its level, and even more often with more random sets. It is kept to reproduce published results,
    whose two-sided p-value is twice the smaller one; use `rank_p`.

    Parameters
    ----------
    scores
        (R,) TCAV scores of the concept, R >= 2.
    null
        TCAV scores of random sets, at least two.

    Returns
    -------
    (p, p_against), as `rank_p`.
    """
    from scipy.special import stdtr  # scipy.stats would take seconds to import

    a, b = scores.var(ddof=1) / len(scores), null.var(ddof=1) / len(null)
    difference = float(scores.mean() - null.mean())
    if a + b == 0:
        return float(difference <= 0), float(difference >= 0)
    df = (a + b) ** 2 / (a**2 / (len(scores) - 1) + b**2 / (len(null) - 1))
    t = difference / np.sqrt(a + b)
    return float(stdtr(df, -t)), float(stdtr(df, t))
