"""A curve of responses over doses: its simultaneous band, its slope, and tests of whether it is monotone or flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
RESAMPLED = 2000
"""Bootstrap samples behind a band."""
LEAST = 5
"""Samples without which a point of the curve is left out."""
BEND = 0.01
"""How far a monotone curve may be outside the band and still fit, as a share of the gap of the class: near dose 0 the
band is as narrow as an edit of one step."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The mean response at each dose, over n samples."""

    doses: tuple[float, ...]
    mean: Array
    """(D,) nan where fewer than `LEAST` samples have the dose."""
    lo: Array
    hi: Array
    """(D,) ends of the band that holds the whole curve with 95 %."""
    counts: tuple[int, ...]
    """Samples behind each point."""
    slope: float
    """Mean over the samples of the slope of their own responses, for one unit of dose."""
    slope_lo: float
    slope_hi: float
    """95 % t interval."""
    p: float
    """Two-sided p-value: the larger one of the trend (see `trend`), which looks at ranks, and of the slope (t test),
    which looks at sizes."""
    reversal: float
    """How far the mean curve is from the nearest monotone curve in the direction of its slope, at most."""
    monotone_fits: bool
    """Whether that monotone curve lies in the band, or outside it by `BEND` at most."""

    def within(self, bound: float) -> bool:
        """Whether the whole band is within ±bound."""
        known = ~np.isnan(self.mean)
        return bool(known.any() and (self.lo[known] >= -bound).all() and (self.hi[known] <= bound).all())


def curve(doses: Sequence[float], responses: Array, seed: int = 0) -> Curve:
    """The curve of responses (n, D) of n samples at D doses; nan where a sample was not given a dose.

    The band is of the bootstrap of whole samples: the mean of each dose ± c standard errors, with c the 95 % quantile
    of the largest studentised deviation over all doses. Doses at which all samples respond alike, as at dose 0, have a
    band without width.

    References
    ----------
    Romano and Wolf, Exact and approximate stepdown methods for multiple hypothesis testing, JASA 2005 (max t).
    """
    x = np.asarray(doses, dtype=float)
    enough = (~np.isnan(responses)).sum(0) >= LEAST
    y = np.where(enough, responses, np.nan)
    mean, error = _mean_and_error(y)
    half = np.where(error > 0, _critical(y, mean, error, seed) * error, 0.0)
    slopes = np.array([_slope(x[known], row[known]) for row in y if (known := ~np.isnan(row)).sum() > 1])
    slope, slope_lo, slope_hi, p = _tested(slopes)
    fit = _monotone(mean, (~np.isnan(y)).sum(0), rising=slope >= 0)
    lo, hi = mean - half, mean + half
    known = ~np.isnan(mean)
    return Curve(
        doses=tuple(doses),
        mean=mean,
        lo=lo,
        hi=hi,
        counts=tuple(int(n) for n in (~np.isnan(responses)).sum(0)),
        slope=slope,
        slope_lo=slope_lo,
        slope_hi=slope_hi,
        p=max(p, trend(x, y)),
        reversal=float(np.abs(fit - mean)[known].max()) if known.any() else nan,
        monotone_fits=bool(((fit >= lo - BEND) & (fit <= hi + BEND))[known].all()),
    )


def trend(doses: Array, responses: Array) -> float:
    """Two-sided p-value that responses (n, D) rise or fall with the dose, within the samples.

    Page's test of ordered alternatives, with the normal approximation, ties, and samples that lack doses: each sample
    adds the covariance of its ranks with those of its doses, whose variance under random order is known.

    References
    ----------
    Page, Ordered hypotheses for multiple treatments, Journal of the American Statistical Association 1963.
    """
    total, variance = 0.0, 0.0
    for row in responses:
        known = ~np.isnan(row)
        m = int(known.sum())
        if m < 2:
            continue
        ranks = stats.rankdata(row[known]) - (m + 1) / 2
        places = stats.rankdata(doses[known]) - (m + 1) / 2
        total += float(ranks @ places)
        variance += float(ranks @ ranks) * float(places @ places) / (m - 1)
    if not variance > 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(total) / sqrt(variance)))


def _mean_and_error(y: Array) -> tuple[Array, Array]:
    """(D,) means and standard errors over the samples that have a dose; nan where none has."""
    known = ~np.isnan(y)
    n = known.sum(0)
    filled = np.where(known, y, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(0) / n
        spread = np.where(known, (filled - mean) ** 2, 0.0).sum(0) / (n - 1)
        return mean, np.sqrt(spread / n)


def _critical(y: Array, mean: Array, error: Array, seed: int) -> float:
    """The 95 % quantile of the largest studentised deviation of a resampled curve; at least that of one t interval."""
    rng, largest = np.random.default_rng([seed, 113]), []
    tested = np.nan_to_num(error) > 0
    n = len(y)
    least = float(stats.t.ppf(0.975, max(n - 1, 1)))
    if not tested.any():
        return least
    for _ in range(RESAMPLED):
        again, spread = _mean_and_error(y[rng.integers(n, size=n)][:, tested])
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.abs(again - mean[tested]) / spread
        deviation = deviation[np.isfinite(deviation)]
        if len(deviation):
            largest.append(float(deviation.max()))
    return max(least, float(np.quantile(largest, 0.95))) if largest else least


def _slope(x: Array, y: Array) -> float:
    centred = x - x.mean()
    return float(centred @ (y - y.mean()) / (centred @ centred))


def _tested(values: Array) -> tuple[float, float, float, float]:
    """Mean of values, its 95 % t interval, and the two-sided p-value that it is 0."""
    mean = float(values.mean()) if len(values) else nan
    if len(values) < 2:
        return mean, nan, nan, 1.0
    error = float(values.std(ddof=1)) / sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    p = 1.0 if mean == 0 else float(2 * stats.t.sf(abs(mean) / error, len(values) - 1)) if error > 0 else 0.0
    return mean, mean - half, mean + half, p


def _monotone(mean: Array, weights: NDArray[np.intp], rising: bool) -> Array:
    """The monotone curve that is nearest to the means by weighted squares (pooling adjacent violators); nan stays."""
    known = ~np.isnan(mean)
    blocks: list[list[float]] = []  # value, weight, number of points
    for value, weight in zip(mean[known] if rising else -mean[known], weights[known], strict=True):
        blocks.append([float(value), float(weight), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, u, i), (b, v, j) = blocks[-2:]
            blocks[-2:] = [[(a * u + b * v) / (u + v), u + v, i + j]]
    fitted = np.concatenate([np.full(int(count), value) for value, _, count in blocks]) if blocks else np.zeros(0)
    found = np.full(len(mean), np.nan)
    found[known] = fitted if rising else -fitted
    return found
