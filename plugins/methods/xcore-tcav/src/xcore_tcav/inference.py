"""Statistics of concept scores: the set-level rank test, intervals, and the published t-test.

Holm's correction and signed marks are those of `xcore_evidence.statistics`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


TAIL = 10
"""Least number of the most extreme values of a null distribution that its tail is read from."""
SHAPES = np.linspace(1e-6, 0.5, 11)
"""Shapes of generalised Pareto tails, from (almost) 0, an exponential tail, to 1/2, below which a tail has a variance.
Over normal, t3, lognormal and uniform scores, J from 20 to 199, this range keeps the levels that Holm's correction over
up to 43 concepts asks for (docs/methods/tcav.md)."""
SCALES = np.exp(np.linspace(-3, 3, 61))
"""Scales of these tails, in mean excesses."""


def rank_p(value: float, null: Floats, shapes: Floats = SHAPES) -> tuple[float, float]:
    """One-sided p-values of a concept set among J random sets: of not being above them, and of not being below them.

    The first is p = (1 + #{j : t_j >= t}) / (J + 1), which is super-uniform at every J if the concept set is
    exchangeable with the random ones. The unit of inference is the concept *set*: a t-test over random sets uses the
    same concept samples R times and rejects far more often than its level.

    Ranks cannot give less than 1 / (J + 1), which Holm's correction over many concepts never lets pass. So beyond the
    most extreme random set the tail is taken for a generalised Pareto one: with u the (k + 1)-th largest t_j, p is
    (k + 1) / (J + 1) times `beyond` of the k largest less u each. It needs J >= 2 k, k = max(10, J / 10); with fewer
    random sets p is that of the rank.

    Parameters
    ----------
    value
        Statistic of the concept set.
    null
        (J,) the same statistic of random sets of the same size, source, rendering and coherence; J >= 1.
    shapes
        Of the tails that are taken for possible, see `beyond`.

    Returns
    -------
    (p, p_against)
        Each in (0, 1]; p is small where the concept is above the random sets, p_against where it is below them.
    """
    return _upper_p(value, null, shapes), _upper_p(-value, -null, shapes)


def _upper_p(value: float, null: Floats, shapes: Floats) -> float:
    above, j = int((null >= value).sum()), len(null)
    by_rank = (1 + above) / (j + 1)
    k = max(TAIL, j // 10)
    if above or j < 2 * k:
        return by_rank
    largest = np.sort(null)[::-1]
    excesses = largest[:k] - largest[k]
    if excesses.sum() <= 0:
        return by_rank
    return min(by_rank, (k + 1) / (j + 1) * beyond(value - largest[k], excesses, shapes))


def beyond(excess: float, seen: Floats, shapes: Floats = SHAPES) -> float:
    """How probable it is that a further excess over a threshold is above this one, given those that were seen.

    The tail is a generalised Pareto one, P(excess > x) = (1 + shape x / scale) ** (-1 / shape). Neither its scale nor
    its shape is known, and few excesses tell little of the shape. So the probability is the mean over all scales (flat
    in the logarithm, for which it is exact in the long run where the shape is known) and all given shapes, each
    weighted by the likelihood of what was seen. For an exponential tail alone that is (1 + x / sum(seen)) ** -k.

    Parameters
    ----------
    excess
        At least 0.
    seen
        (k,) at least 0, and not all 0.
    shapes
        Above 0.

    References
    ----------
    Pickands, Statistical inference using extreme order statistics, Annals of Statistics 1975.
    """
    scale = (seen.mean() * SCALES)[None, :]
    shape = shapes[:, None]
    stretched = np.log1p(shape[..., None] * seen / scale[..., None]).sum(-1)
    likelihood = -len(seen) * np.log(scale) - (1 / shape + 1) * stretched
    weights = np.exp(likelihood - likelihood.max())
    survives = (1 + shape * excess / scale) ** (-1 / shape)
    return float((weights * survives).sum() / weights.sum())


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
