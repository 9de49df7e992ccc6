"""Intervals and tests over classes: how sure a mean over few classes is.

The classes are the sample: seeds of one class share its pictures' world, its classifier and its truth, so they are
averaged first, and n is the number of classes. With eight classes the percentile bootstrap is too narrow: where it says
95 %, it covered the truth in 87 % of 4,000 simulated runs with normal values, and in 90 % with precision@3 of classes
of different difficulty; the interval of Student's t in 95 % and 94 % of 20,000 (`tests/whole/test_intervals.py` has
a shorter form of the simulation). It is not cut at 0 or 1, so that its width can be seen. Where all classes have one
value there is no spread to estimate anything from, so no interval is printed, but what was seen: "1.00 (all equal,
n = 8)".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np
from scipy.stats import norm as normal
from scipy.stats import spearmanr
from scipy.stats import t as student
from xcore_evidence.statistics import wilson

Cases = Mapping[tuple[str, int], float]
"""(class, seed) -> value."""

EXACT = 16
"""The most classes for which all changes of signs are counted (2 ** 16); of more, `DRAWN` are drawn."""
DRAWN = 20_000


def class_means(values: Cases) -> dict[str, float]:
    """Class -> the mean over its seeds."""
    classes = sorted({c for c, _ in values})
    return {name: float(np.mean([v for (c, _), v in values.items() if c == name])) for name in classes}


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean by Student's t; (nan, nan) of fewer than two values, a point if all are equal."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return float("nan"), float("nan")
    half = float(student.ppf((1 + confidence) / 2, len(x) - 1)) * float(x.std(ddof=1)) / len(x) ** 0.5
    return float(x.mean()) - half, float(x.mean()) + half


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p-value that paired differences are symmetric about 0, by changing their signs.

    All 2 ** n changes are counted for up to `EXACT` differences, so the least p is 2 / 2 ** n (.008 for 8 classes);
    for more, `DRAWN` are drawn, and the given one counts among them.
    """
    x = np.asarray(differences, dtype=float)
    if len(x) <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(x))))
    else:
        signs = np.random.default_rng(0).choice([1.0, -1.0], size=(DRAWN, len(x)))
        signs = np.concatenate([np.ones((1, len(x))), signs])
    means = np.abs(signs @ x) / len(x)
    return float(np.mean(means >= np.abs(x.mean()) - 1e-12))


def shown(values: Cases) -> str:
    """Mean over classes, its t interval and n, such as "0.53 [0.31, 0.75], n = 8"."""
    return mean_interval(class_means(values).values())


def mean_interval(values: Iterable[float]) -> str:
    """The same, from one value of each class, or of whatever else is the sample (draws, classifiers)."""
    x = list(values)
    if not x:
        return "n/a"
    mean = f"{np.mean(x):.2f}"
    if len(x) == 1:
        return f"{mean} (n = 1)"
    if np.ptp(x) < 1e-12:
        return f"{mean} (all equal, n = {len(x)})"
    low, high = t_interval(x)
    return f"{mean} [{low:.2f}, {high:.2f}], n = {len(x)}"


def shown_difference(differences: Cases) -> str:
    """Mean of paired differences, its t interval, n, and the p-value of a sign-flip test."""
    means = list(class_means(differences).values())
    if len(means) < 2:
        return mean_interval(means)
    return f"{mean_interval(means)}, p = {_short(sign_flip_p(means))}"


def shown_share(counts: Mapping[str, tuple[int, int]]) -> str:
    """A share of cases that lie in classes, from class -> (k, n): mean over classes with its t interval.

    Cases of one class share its pictures and its random sets, so they are no independent draws, and Wilson's interval
    of all cases together would be too narrow. But where every class has the same share (as 0 or 1), the t interval has
    no width; then Wilson's interval of one case for each class is printed: what so many independent cases show at most.
    """
    kept = {name: (k, n) for name, (k, n) in counts.items() if n}
    if not kept:
        return "n/a"
    k, n = (sum(pair[i] for pair in kept.values()) for i in (0, 1))
    shares = [a / b for a, b in kept.values()]
    said = f"{k} of {n}"
    if np.ptp(shares) < 1e-12:
        low, high = wilson(shares[0] * len(shares), len(shares))
        return f"{shares[0]:.2f} ({said}; equal in all classes, n = {len(shares)}: Wilson [{low:.2f}, {high:.2f}])"
    return f"{mean_interval(shares)} ({said})"


def _short(p: float) -> str:
    return f"{p:.3f}".lstrip("0") if p < 1 else "1"


def rank_correlation(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Spearman's correlation and its interval by Fisher's z, with the standard error of Bonett and Wright (2000).

    (nan, nan, nan) if one of the two is constant or there are fewer than four pairs. A correlation of 1 or -1 has no
    interval of this kind, so that its ends are nan.
    """
    if len(x) < 4 or len(set(x)) < 2 or len(set(y)) < 2:
        return float("nan"), float("nan"), float("nan")
    r = float(spearmanr(x, y).statistic)
    if abs(r) > 1 - 1e-9:
        return r, float("nan"), float("nan")
    half = float(normal.ppf((1 + confidence) / 2)) * ((1 + r * r / 2) / (len(x) - 3)) ** 0.5
    return r, float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))
