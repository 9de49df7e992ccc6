"""The difference of two effects, for pairs of phrases that should not differ. This module imports nothing heavy.

Both effects come from one regression, so that their errors go together: the error of the difference is of the joint
covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt

from xcore.contract import UsageError
from xcore_evidence.estimates import Evidence
from xcore_evidence.statistics import half_width, one_sided


@dataclass(frozen=True)
class Contrast:
    """The effect of one phrase less that of another."""

    first: str
    second: str
    difference: float
    """As a share of the size of the class's gap, each phrase going from rarely to often present."""
    error: float
    """Standard error of the difference."""
    lo: float
    hi: float
    """95 % interval."""
    p: float
    """Two-sided p-value: that the effects do not differ."""
    bound: float
    """The smallest bound within which the effects are shown to be equal, at 5 % (two one-sided tests): the greater end,
    in size, of the 90 % interval."""

    def p_within(self, bound: float, degrees: float) -> float:
        """p-value by two one-sided tests: that the effects differ by the bound or more.

        References
        ----------
        Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987.
        """
        if not self.error > 0:
            return 1.0
        above = one_sided([(self.difference + bound) / self.error], degrees)[0][0]
        below = one_sided([(self.difference - bound) / self.error], degrees)[1][0]
        return max(above, below)


def contrast(evidence: Evidence, first: str, second: str) -> Contrast:
    """The effect of `first` less that of `second`, from the joint covariance of both.

    The skewness of the estimates is not heeded: it moves the two sides of a two-sided test against one another.

    Raises
    ------
    UsageError
        The evidence does not know the joint covariance of its effects.
    KeyError
        It has no such phrase.
    """
    if not evidence.covariance:
        raise UsageError(
            f"this {evidence.kind} evidence does not say how its effects go together, so that two cannot be compared",
            "ask for observed, factorial or edited evidence of phrases",
        )
    one, other = evidence.of(first), evidence.of(second)
    if not (one.tested and other.tested):
        return Contrast(first, second, nan, nan, nan, nan, 1.0, inf)
    at = {e.phrase: i for i, e in enumerate(evidence.estimates)}
    i, j, cov = at[first], at[second], evidence.covariance
    a, b = one.scale, other.scale
    difference = a * one.effect - b * other.effect
    error = sqrt(max(a * a * cov[i][i] + b * b * cov[j][j] - 2 * a * b * cov[i][j], 0.0))
    if not error > 0:
        return Contrast(first, second, nan, nan, nan, nan, 1.0, inf)
    half = half_width(error, evidence.degrees)
    up, down = one_sided([difference / error], evidence.degrees)
    bound = abs(difference) + half_width(error, evidence.degrees, 0.9)
    p = min(1.0, 2 * min(up[0], down[0]))
    return Contrast(first, second, difference, error, difference - half, difference + half, p, bound)
