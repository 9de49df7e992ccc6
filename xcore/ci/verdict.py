"""Verdicts: whether a value meets a gate or holds against a baseline, and how compared numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xcore.report.table import Section, Table, Value


@dataclass(frozen=True)
class Verdict:
    """One judgement.

    Attributes
    ----------
    kind
        Whether a gate or a baseline was asked.
    name
        What was judged, e.g. ``craft.TS on zebra``.
    status
        "better" than a baseline by more than the tolerance; "noted" is what was not judged, and why.
    message
        What came of it, in words.
    rule
        What was asked of it, e.g. ``>= 0.9``.
    excused
        It is told, and fails nothing even if it is missed.
    """

    kind: Literal["gate", "baseline"]
    name: str
    status: Literal["met", "better", "missed", "noted"]
    message: str
    rule: str = ""
    excused: bool = False

    @property
    def fails(self) -> bool:
        """Whether it makes the exit code 1."""
        return self.status == "missed" and not self.excused

    @property
    def text(self) -> str:
        """The judgement as a line."""
        return f"{self.name}: {self.message}"


def place(table: Table, section: Section) -> str:
    """The class, and what else tells its section from the others, e.g. ``zebra (minizoo/biased)``."""
    others = [s for s in table.sections if s.cls == section.cls]
    parts = [section.classifier] if len({s.classifier for s in others}) > 1 else []
    parts += [section.data] if len({s.data for s in others}) > 1 else []
    return f"{section.cls} ({', '.join(parts)})" if parts else section.cls


def number(value: float, difference: float) -> str:
    """The value with so many decimals (two or more) that the difference, rounded alike, is not nought."""
    size = abs(difference)
    places = 2 if size == 0 else max(2, min(12, math.ceil(-math.log10(size))))
    return f"{value:.{places}f}"


def spread(value: float | None, difference: float) -> str:
    """Such as `` ± .04``; empty if there is none."""
    return "" if value is None else f" ± {number(value, difference).removeprefix('0')}"


def absence(section: Section, label: str, value: Value | None, missing: str) -> str:
    """Why the value of a label lacks some or all of its seeds; empty if every seed has one.

    Parameters
    ----------
    missing
        The reason for a seed that neither failed nor was said to be n/a, e.g. ``no concept C4``.
    """
    rows = [row for row in section.rows if row.label == label]
    seeds = sorted({seed for row in rows for seed in row.seeds})
    why: dict[str, list[int]] = {}
    for seed in seeds:
        if value is None or seed not in value.by_seed:
            lost = next((f"{r.status}: {r.reason}" for r in rows if r.status != "ok" and seed in r.seeds), "")
            said = value.reasons.get(seed, "") if value else ""
            why.setdefault(lost or said or missing, []).append(seed)
    if not seeds:
        return missing
    return "; ".join(reason if len(of) == len(seeds) else f"{_seeds(of)}: {reason}" for reason, of in why.items())


def _seeds(numbers: Sequence[int]) -> str:
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def tally(verdicts: Sequence[Verdict]) -> str:
    """Such as ``1 of 2 gates missed, 27 of 27 baseline values met``; empty if nothing was judged."""
    parts = []
    for kind, what in (("gate", "gates"), ("baseline", "values of the baseline")):
        judged = [v for v in verdicts if v.kind == kind and v.status != "noted"]
        missed = sum(v.status == "missed" for v in judged)
        if judged:
            verb = {"gate": ("met", "missed"), "baseline": ("held", "lost")}[kind][bool(missed)]
            parts.append(f"{missed or len(judged)} of {len(judged)} {what} {verb}")
    return ", ".join(parts)
