"""What evidence says of each phrase. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Literal

from xcore_evidence.statistics import half_width, one_sided, signed_marks, unskewed

Kind = Literal["observed", "factorial", "edited"]


@dataclass(frozen=True)
class Estimate:
    """The effect of one phrase on the margin of the class."""

    phrase: str
    effect: float
    """In logits of the margin; what it is the effect of is in `Evidence.unit`."""
    error: float
    """Standard error of the effect; nan if it could not be estimated."""
    lo: float
    hi: float
    """95 % interval of the effect, which the ridge has shrunken where there is one."""
    p: float
    """One-sided p-value: that the phrase does not raise the class."""
    p_against: float
    """One-sided p-value: that the phrase does not lower the class."""
    p_holm: float
    """The smaller of the two after Holm's correction over all phrases of its side."""
    mark: Literal[-1, 0, 1]
    """+1 = the phrase raises the class, -1 = it lowers it, 0 = neither is shown."""
    share: float
    """The effect of a phrase that goes from rarely to often present, as a share of the gap of the class: how far its
    own samples are above the others in the mean margin."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Further figures by name, such as ``spread`` and ``inflation``."""

    @property
    def t(self) -> float:
        """The effect in standard errors; 0 if it could not be estimated."""
        return self.effect / self.error if isfinite(self.error) and self.error > 0 else 0.0

    @property
    def tested(self) -> bool:
        """Whether the effect could be estimated."""
        return isfinite(self.error) and self.error > 0

    @property
    def scale(self) -> float:
        """What turns an effect in logits into a share of the size of the gap of the class; nan if it is not known."""
        return abs(self.share / self.effect) if self.effect else nan

    def as_evidence(self) -> dict[str, float]:
        """The finite figures by name, for `Concept.evidence`."""
        figures = {
            "effect": self.effect,
            "error": self.error,
            "lo": self.lo,
            "hi": self.hi,
            "p": self.p,
            "p_against": self.p_against,
            "p_holm": self.p_holm,
            "mark": float(self.mark),
            "share": self.share,
            **self.details,
        }
        return {name: value for name, value in figures.items() if isfinite(value)}


@dataclass(frozen=True)
class Evidence:
    """What one kind of evidence says of all phrases, for one class of one classifier."""

    kind: Kind
    says: str
    """What the estimates are evidence of, as one phrase: "association with the margin, given the other phrases"."""
    unit: str
    """What an effect is the effect of."""
    estimates: tuple[Estimate, ...]
    """One for each phrase, in the order in which they were given."""
    n: int
    """Number of samples behind the estimates."""
    gap: float
    """Mean margin of the class's own samples less that of the others, in logits; nan if it is not known."""
    explained: float = nan
    """Share of the margin's variance that the phrases explain on samples that were left out."""
    penalty: float = nan
    """Strength of the ridge."""
    alike: tuple[tuple[str, str], ...] = ()
    """Pairs of phrases that cannot be told apart in these samples."""
    notes: tuple[str, ...] = ()
    """What a reader must know, one line each."""
    covariance: tuple[tuple[float, ...], ...] = ()
    """(k, k) joint covariance of the effects, for differences of two of them (`xcore_evidence.contrasts`); empty if it
    is not known."""
    degrees: float = nan
    """Degrees of freedom of the t distribution."""

    def ranked(self) -> list[int]:
        """Indices of the estimates, the largest effect first; those that could not be estimated come last."""

        def key(i: int) -> tuple[bool, float]:
            return not self.estimates[i].tested, -self.estimates[i].effect

        return sorted(range(len(self.estimates)), key=key)

    def of(self, phrase: str) -> Estimate:
        """The estimate of a phrase; raises KeyError if there is none."""
        return {e.phrase: e for e in self.estimates}[phrase]


def estimates(
    phrases: Sequence[str],
    effects: Sequence[float],
    errors: Sequence[float],
    *,
    degrees: float,
    ranges: Sequence[float],
    gap: float,
    alpha: float,
    minimum: float = 0.0,
    details: Sequence[Mapping[str, float]] = (),
    skews: Sequence[float] = (),
    p_values: tuple[Sequence[float], Sequence[float]] | None = None,
) -> tuple[Estimate, ...]:
    """Estimates with intervals, p-values, Holm's correction over all phrases, and signed marks.

    Parameters
    ----------
    effects, errors
        In logits, and standard errors; an error that is nan or 0 says that the effect could not be estimated.
    degrees
        Degrees of freedom of the t distribution.
    ranges
        How far a phrase goes from rarely to often present, in the unit of the effects; 1 where it is in or out.
    gap
        See `Evidence.gap`.
    minimum
        Least effect that a mark must exceed, as a share of the gap, at least 0. Then the p-values are of this, too.
    skews
        Skewness of each estimate (see `statistics.unskewed`); empty = none is skewed.
    p_values
        (raises, lowers), where they do not come from the t distribution.
    """
    known = [isfinite(e) and e > 0 for e in errors]
    least = [minimum * abs(gap) / r if minimum and isfinite(gap) and r > 0 else 0.0 for r in ranges]
    skews = skews or [0.0] * len(effects)

    def statistics(sign: float) -> list[float]:
        rows = zip(effects, errors, known, least, skews, strict=True)
        return [unskewed((b + sign * m) / e, skew) if k else nan for b, e, k, m, skew in rows]

    up, down = one_sided(statistics(-1), degrees)[0], one_sided(statistics(1), degrees)[1]
    if p_values is not None:
        up, down = [list(side) for side in p_values]
    marks, adjusted = signed_marks(up, down, alpha)
    made = []
    for i, phrase in enumerate(phrases):
        half = half_width(errors[i], degrees) if known[i] else nan
        made.append(
            Estimate(
                phrase=phrase,
                effect=effects[i],
                error=errors[i] if known[i] else nan,
                lo=effects[i] - half,
                hi=effects[i] + half,
                p=up[i],
                p_against=down[i],
                p_holm=adjusted[i],
                mark=marks[i],  # type: ignore[arg-type]
                share=effects[i] * ranges[i] / gap if isfinite(gap) and gap else nan,
                details=details[i] if details else {},
            )
        )
    return tuple(made)
