"""Statistics of concept scores: the set-level rank test, Holm's correction, intervals, and the published t-test."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rank_p(value: float, null: Floats) -> float:
    """Two-sided rank p-value of a concept set among J random sets.

    p = (1 + #{j : |t_j - median| >= |t - median|}) / (J + 1). The unit of inference is the concept *set*: a t-test over
    random sets uses the same concept samples R times and rejects far more often than its level. The median is taken
    over all J + 1 values, so that p is super-uniform for exchangeable sets at every J, not only in the limit.

    Parameters
    ----------
    value
        Statistic of the concept set.
    null
        (J,) the same statistic of random sets of the same size, source and rendering.

    Returns
    -------
    float
        In [1 / (J + 1), 1].
    """
    middle = np.median(np.append(null, value))
    extreme = np.abs(null - middle) >= np.abs(value - middle)
    return float((1 + extreme.sum()) / (len(null) + 1))


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


def welch_p(scores: Floats, null: Floats) -> float:
    """Two-sided Welch t-test of TCAV scores over random sets, as published (Kim et al. 2018, section 3.4).

    **Not calibrated**: all scores share the concept samples. For random concept samples it therefore rejects many times
    more often than its level, and even more often with more random sets. It is kept to reproduce published results;
    use `rank_p`.

    Parameters
    ----------
    scores
        (R,) TCAV scores of the concept, R >= 2.
    null
        TCAV scores of random sets, at least two.
    """
    from scipy.special import stdtr  # scipy.stats would take seconds to import

    a, b = scores.var(ddof=1) / len(scores), null.var(ddof=1) / len(null)
    difference = abs(scores.mean() - null.mean())
    if a + b == 0:
        return 1.0 if difference == 0 else 0.0
    df = (a + b) ** 2 / (a**2 / (len(scores) - 1) + b**2 / (len(null) - 1))
    return float(2 * stdtr(df, -difference / np.sqrt(a + b)))


def null_size(least: int, tests: int, alpha: float) -> int:
    """Number J of random sets that lets the smallest p, 1 / (J + 1), survive Holm's correction at `alpha`."""
    return max(least, ceil(tests / alpha))
