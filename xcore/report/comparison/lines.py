"""A comparison as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["", "better", "worse", "different", "no difference", "no test", "not comparable", "lost", "new"]


@dataclass(frozen=True)
class Line:
    """One metric (and variant) of one method and network in two runs."""

    data: str
    classifier: str
    label: str
    metric: str
    variant: str
    direction: str
    """"higher" or "lower" is better, or "none"."""
    before: float | None = None
    """Mean of the first run, over the classes that are compared."""
    after: float | None = None
    difference: float | None = None
    """`after` minus `before`."""
    low: float | None = None
    high: float | None = None
    """95 % interval of the difference."""
    p: float | None = None
    """Two-sided, not corrected."""
    adjusted: float | None = None
    """The p-value corrected for all that the comparison tests (Holm)."""
    n: int = 0
    unit: str = ""
    """What n counts: "classes" or "seeds"."""
    test: str = ""
    design: str = ""
    """What is paired with what, in words."""
    lost: int = 0
    """Values of the first run that the second was asked for and does not have."""
    verdict: Verdict = ""
    """"different" is for metrics without a better direction; "no test" has too few classes and seeds; "lost" has no
    value in the second run at all, and "new" none in the first."""
    reason: str = ""
    """Why there is no verdict, or what to know of it."""

    @property
    def name(self) -> str:
        """The metric with its variant."""
        return f"{self.metric} [{self.variant}]" if self.variant else self.metric

    @property
    def fails(self) -> bool:
        """Whether it is worse, or a value that was there is gone."""
        return self.verdict in ("worse", "lost") or self.lost > 0


@dataclass(frozen=True)
class PicturePair:
    """The first concepts of one class by one method in both runs."""

    classifier: str
    cls: str
    label: str
    seed: int
    """Seed in the first run."""
    other_seed: int
    before: Path
    after: Path


@dataclass(frozen=True)
class Pair:
    """The first run compared with another one."""

    name: str
    """What the other run is called."""
    path: Path
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    """What both runs differ in, and what only one of them has."""
    pictures: tuple[PicturePair, ...]
