"""The table as data, which every renderer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xcore.contract.types import Status
from xcore.report.audits import Audit
from xcore.report.highlighted import HighlightedTexts

CHANCE = "chance"
"""Detail of a score: its value for a random baseline, which each metric defines."""
NULL_MEAN = "null_mean"
"""Detail of a score: the mean of its null distribution, that is, over random concepts."""
OUTSIDE = "outside"
"""Detail of a score: 1.0 if it is outside its null distribution, else 0.0."""
FAILED = "‡"
"""Stands behind a value whose metric failed its audit for this kind of explanation."""
MARK = "mark"
"""Detail of a score whose test has sides: 1.0 if the concept raises the class, -1.0 if it lowers it, 0.0 if neither is
shown. Then `OUTSIDE` is 1.0 for both signs."""


def clean(text: object) -> str:
    """The text on one line without control characters, so that no name can break the layout of a table."""
    return "".join(c for c in " ".join(str(text).split()) if c.isprintable())


@dataclass(frozen=True)
class MetricInfo:
    """What a table needs to know about a metric: what its card and its class state."""

    direction: str = "none"
    """"higher" or "lower" is better, or "none"."""
    caveat: str = ""
    """What a reader must know, as words that follow the metric's name: "never asks the model under explanation"."""
    column: bool = True
    """Whether the tables for people have a column for it; the CSV, JSON and Parquet files always do."""
    details: tuple[str, ...] = ()
    """Details of its scores that gates and baselines may name like metrics."""
    audits: Mapping[str, Audit] = field(default_factory=dict)
    """Kind of explanation -> what an audit of the metric found; empty if it was not audited."""


@dataclass(frozen=True)
class Column:
    """One variant of a metric. Variants are different experiments, so each has its own column."""

    metric: str
    variant: str = ""
    direction: str = "none"
    """"higher" or "lower" is better, or "none"."""
    whole: bool = False
    """The score judges a whole explanation rather than one concept; it is shown once for each method."""


@dataclass(frozen=True)
class Value:
    """The value of a metric for one concept (or one explanation), combined over seeds."""

    value: float | None
    """Mean over the seeds that have a value; None if no seed has one."""
    spread: float | None = None
    over: str = ""
    """What the spread is taken over: "seeds" if several are combined, else what the score itself names."""
    n: int = 0
    """How many seeds (or pairs, samples, ...) the spread is taken over."""
    by_seed: Mapping[int, float] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Seed -> why there is no value."""
    details: Mapping[str, float] = field(default_factory=dict)
    """The details of the scores, as means over seeds."""
    outside: tuple[int, int] | None = None
    """(k, n): outside its null distribution in k of n seeds; None if the metric has no null distribution."""
    lowers: int | None = None
    """In how many of these k seeds the concept lowers the class; None if the test has no sides."""
    failed: tuple[str, ...] = ()
    """What the metric failed in its audit for this kind of explanation; empty = nothing, or it was not audited."""


@dataclass(frozen=True)
class Row:
    """The concepts of one rank of a method, or cells that gave no concept."""

    method: str
    label: str
    status: Status
    seeds: tuple[int, ...]
    reason: str = ""
    rank: int | None = None
    """1 = most important; None = the row is not a concept."""
    names: Mapping[str, int] = field(default_factory=dict)
    """Name -> the number of seeds that gave this name, most frequent first."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For text: name -> the other words of the concept, from the first seed that gave this name."""
    values: Mapping[Column, Value] = field(default_factory=dict)
    seconds: float | None = None
    """Seconds that the explanation took, mean over seeds; only on the first row of a method."""
    shared_seconds: float | None = None
    """Its share of the seconds of work that explanations of the method have in common, such as training."""

    @property
    def irrelevant(self) -> bool:
        """Whether the concept has a null distribution and is inside it in at least half of the seeds."""
        counts = [v.outside for v in self.values.values() if v.outside is not None]
        return any(2 * k <= n for k, n in counts)


@dataclass(frozen=True)
class CellTexts:
    """The highlighted texts of one cell: one method with one seed."""

    label: str
    seed: int
    highlighted: HighlightedTexts


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
    """Number of held-out samples that the metrics used; None if nothing was scored."""
    highlighted: tuple[CellTexts, ...] = ()
    """For text: the explained texts with highlighted words, for each method and seed."""


@dataclass(frozen=True)
class Table:
    """All sections of a run. It has every concept; the renderers for people show the first `top` of each method."""

    sections: tuple[Section, ...]
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """The legend for all sections, one line each."""
    top: int = 3
