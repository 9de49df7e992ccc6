"""The table as data: what every renderer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xcore.marked import Marked
from xcore.types import Status

CHANCE = "chance"
"""Detail of a score: the same figure from what is drawn at random; what that is, the metric says."""
NULL_MEAN = "null_mean"
"""Detail of a score: its mean over random concepts."""
OUTSIDE = "outside"
"""Detail of a score: 1.0 if it is outside its null, 0.0 if not."""


def clean(text: object) -> str:
    """The text on one line without control characters, so that no name can break a renderer."""
    return "".join(c for c in " ".join(str(text).split()) if c.isprintable())


@dataclass(frozen=True)
class Column:
    """A metric in one variant. Variants are different experiments, so each has a column of its own."""

    metric: str
    variant: str = ""
    direction: str = "none"
    """"higher" or "lower" is better, or "none"."""
    whole: bool = False
    """The score is of a whole explanation, shown once a method."""


@dataclass(frozen=True)
class Value:
    """What a metric says of one concept (or one explanation), combined over seeds."""

    value: float | None
    """Mean over the seeds that have a value; None if none has one."""
    spread: float | None = None
    over: str = ""
    """What the spread is over: "seeds" if two or more are combined, else what the score itself names."""
    n: int = 0
    """How many the spread counts."""
    by_seed: Mapping[int, float] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Seed -> why it has no value."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Means over seeds of the details that the scores carry."""
    outside: tuple[int, int] | None = None
    """In how many of how many seeds the value is outside its null; None if the metric tells no such thing."""


@dataclass(frozen=True)
class Row:
    """A concept of a method, by rank, or what became of cells that gave none."""

    method: str
    label: str
    status: Status
    seeds: tuple[int, ...]
    reason: str = ""
    rank: int | None = None
    """1 = most important; None = the row is no concept."""
    names: Mapping[str, int] = field(default_factory=dict)
    """Name -> number of seeds that gave it, most frequent first."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of text: name -> further words of the concept, in the first seed that gave this name."""
    values: Mapping[Column, Value] = field(default_factory=dict)
    seconds: float | None = None
    """Mean over seeds of what the explanation took; on the first row of a method only."""

    @property
    def irrelevant(self) -> bool:
        """The concept has a null, and is inside it in at least half of the seeds."""
        counts = [v.outside for v in self.values.values() if v.outside is not None]
        return any(2 * k <= n for k, n in counts)


@dataclass(frozen=True)
class Shown:
    """The marked texts of one explanation."""

    label: str
    seed: int
    marked: Marked


@dataclass(frozen=True)
class Section:
    """One class of one classifier."""

    data: str
    classifier: str
    cls: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Footnotes, one line each."""
    heldout: int | None = None
    """Held-out samples that metrics saw; None where nothing was scored."""
    marked: tuple[Shown, ...] = ()
    """Of text: the explained texts with their words marked, for each method and seed."""


@dataclass(frozen=True)
class Table:
    """All sections of a run. It holds every concept; renderers for people show the first `top` of each method."""

    sections: tuple[Section, ...]
    header: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """The legend: what holds for all sections, one line each."""
    top: int = 3
