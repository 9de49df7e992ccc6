"""Intervals and tests of a difference, and Holm's correction for many of them.

Values lie in classes and come from seeds, and both are samples: another class, and another seed, would give another
figure. What a seed changes may be the same in all classes, such as which random pictures a method draws, so that
classes of one seed are no independent witnesses: of simulated runs of nine classes that differ in nothing but their
seeds, Student's t over classes calls half different where what seeds change in all classes is as large as the noise
inside a class (`benchmarks/compare_rule.py`). So the variance of a difference is that over classes plus that over
seeds, each with its own degrees of freedom, which Satterthwaite's formula combines: that calls 1 to 5 % different.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

CONFIDENCE = 0.95
Table = Mapping[tuple[str, int], float]
"""(class, seed) -> value."""


@dataclass(frozen=True)
class Part:
    """One of the sums that make the variance of a mean."""

    variance: float
    freedom: int


@dataclass(frozen=True)
class Estimate:
    """A difference, and how sure it is."""

    difference: float
    n: int
    """How many classes, or seeds of one class, it rests on; of unpaired sides, the smaller one."""
    p: float | None = None
    """Two-sided p-value, not corrected; None = too few values for any."""
    low: float | None = None
    high: float | None = None
    """95 % interval of the difference; None = nothing varies, or too few values, so there is none."""
    test: str = ""
    """Such as "t test over classes and seeds"."""


def class_part(means: Sequence[float]) -> Part:
    """What the spread of the means of two or more classes adds to the variance of their mean."""
    return Part(variance(means) / len(means), len(means) - 1)


def seed_part(values: Table) -> Part:
    """What two or more seeds add to the variance of the mean of all values, by what they change in all classes."""
    classes: dict[str, list[float]] = {}
    for (cls, _), value in values.items():
        classes.setdefault(cls, []).append(value)
    seeds: dict[int, list[float]] = {}
    for (cls, seed), value in values.items():
        seeds.setdefault(seed, []).append(value - fmean(classes[cls]))
    effects = [fmean(changes) for changes in seeds.values()]
    return Part(variance(effects) / len(effects), len(effects) - 1)


def judged(difference: float, parts: Sequence[Part], n: int, size: float, test: str) -> Estimate:
    """A difference whose variance is the sum of these parts, by Student's t.

    Parameters
    ----------
    size
        The largest value behind it: a variance that is rounding beside it is none. Then the p-value is 1 for no
        difference, and else that of the changes of n signs, 2 / 2^n; and there is no interval.
    """
    total = sum(part.variance for part in parts)
    if math.sqrt(total) <= 1e-9 * max(abs(size), 1e-9):
        same = abs(difference) <= 1e-9 * max(abs(size), 1e-9)
        return Estimate(difference, n, 1.0 if same else 2 / 2**n, test="sign-flip test, since nothing varies")
    from scipy.stats import t  # late: it takes as long to import as all the rest

    freedom = total**2 / sum(part.variance**2 / part.freedom for part in parts)
    error = math.sqrt(total)
    p = float(2 * t.sf(abs(difference) / error, freedom))
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Estimate(difference, n, p, difference - half, difference + half, test)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: of all claims below .05, with 95 % certainty none is wrong."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, last = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        last = max(last, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = last
    return adjusted
