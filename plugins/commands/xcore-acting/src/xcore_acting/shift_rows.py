"""What changed between two classifiers, one row for each concept, whatever scored it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xcore_evidence.statistics import holm

from xcore.contract import Samples
from xcore.session import Column

ALPHA = 0.05
"""Family-wise error rate of "gained" and "lost"."""


@dataclass(frozen=True)
class Change:
    """One concept in both classifiers."""

    concept: str
    a: tuple[float, float, float]
    """Score in A and its 95 % interval."""
    b: tuple[float, float, float]
    difference: tuple[float, float, float]
    """B less A, with the 95 % interval of the paired difference."""
    p: float
    """Two-sided; 1 where the difference could not be tested."""


@dataclass(frozen=True, eq=False)
class Shift:
    """What changed, and what a reader must know of it."""

    changes: tuple[Change, ...]
    unit: str
    test: str
    n: int
    of: str
    """What n counts."""
    shown: Callable[[str], Samples | None]
    notes: tuple[str, ...] = ()

    def rows(self, cls: str) -> list[dict[str, Any]]:
        """Rows of the table, the largest gain first and the largest loss last."""
        adjusted = holm([c.p for c in self.changes])
        rows = []
        for c, q in zip(self.changes, adjusted, strict=True):
            changed = "" if q > ALPHA else "gained" if c.difference[0] > 0 else "lost"
            row: dict[str, Any] = {"concept": c.concept, "class": cls}
            for name, (value, lo, hi) in (("a", c.a), ("b", c.b), ("difference", c.difference)):
                row |= {name: value, f"{name}_lo": lo, f"{name}_hi": hi}
            rows.append({**row, "p": c.p, "p_holm": q, "changed": changed, "n": self.n})
        return sorted(rows, key=lambda row: -row["difference"])

    def columns(self) -> tuple[Column, ...]:
        """The columns of the table."""
        interval = "ends of the 95 % interval"
        return (
            Column("concept", "Concept", ""),
            Column("class", "Class", ""),
            Column("a", "A", self.unit, 2),
            Column("a_lo", "A from", interval, 2, shown=False),
            Column("a_hi", "A to", interval, 2, shown=False),
            Column("b", "B", "the same in the other classifier", 2),
            Column("b_lo", "B from", interval, 2, shown=False),
            Column("b_hi", "B to", interval, 2, shown=False),
            Column("difference", "B - A", f"paired over the same {self.n} {self.of}", 2),
            Column("difference_lo", "from", "95 % interval of B - A", 2),
            Column("difference_hi", "to", "", 2),
            Column("p", "p", f"two-sided: {self.test}", 4, shown=False),
            Column("p_holm", "p (Holm)", f"of no difference, corrected over {len(self.changes)} concepts", 4),
            Column("changed", "Changed", f"where p (Holm) is at most {ALPHA:g}"),
            Column("n", "n", self.of, shown=False),
        )


def top(rows: Sequence[dict[str, Any]], changed: str, most: int) -> list[dict[str, Any]]:
    """The rows that gained or lost most; those that are shown to have come first."""
    sign = 1 if changed == "gained" else -1
    moved = [row for row in rows if sign * row["difference"] > 0]
    return sorted(moved, key=lambda row: (row["changed"] != changed, -sign * row["difference"]))[:most]
