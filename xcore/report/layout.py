"""Each section as strings in cells, shared by the renderers for people (terminal, Markdown, LaTeX)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xcore.report.highlighted import named
from xcore.report.notes import plural
from xcore.report.table import CHANCE, FAILED, NULL_MEAN, Column, Row, Section, Table, Value

ARROWS = {"higher": " ↑", "lower": " ↓"}
CONCEPT = 46
"""Characters of the widest concept column. Longer texts, such as the reasons of failures, are wrapped."""
WORDS = 3
"""How many other words stand beside the name of a text concept, as far as they fit on its line."""


@dataclass(frozen=True)
class Line:
    """One printed row. The numbers of a column are padded so that they are aligned."""

    cells: tuple[str, ...]
    dim: bool = False
    """The concept is inside its null distribution."""
    unfinished: bool = False
    """The row stands for failed or skipped cells."""


@dataclass(frozen=True)
class Grid:
    """A section as strings. The first two columns are texts, the others are numbers."""

    title: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def grids(table: Table) -> list[Grid]:
    """The sections as strings, with the first `table.top` concepts of each method."""
    return [_grid(section, table) for section in table.sections]


def _grid(section: Section, table: Table) -> Grid:
    rows = [row for row in section.rows if row.rank is None or row.rank <= table.top]
    timed = any(row.seconds is not None for row in rows)
    heads, printed = metric_columns(section, rows, table)
    head = ["Method", "Concept", *heads, *(["s"] if timed else [])]
    lines = []
    last = ""
    for row, *values in zip(rows, *printed, strict=True):
        taken = "" if row.seconds is None else shown_seconds(row.seconds + (row.shared_seconds or 0))
        seconds = [taken] if timed else []
        method = row.label if row.label != last else ""
        lines.append(Line((method, concept_text(row), *values, *seconds), row.irrelevant, row.status != "ok"))
        last = row.label
    cut = {row.label: row.rank for row in section.rows if row.rank is not None and row.rank > table.top}
    more = [f"the first {table.top} concepts a method; all are in table.csv and table.json"] if cut else []
    return Grid(title(section), tuple(head), tuple(lines), (*section.notes, *more))


def metric_columns(section: Section, rows: list[Row], table: Table) -> tuple[list[str], list[list[str]]]:
    """The heads of the columns of metrics, and what stands in them for these rows of a section."""
    columns = shown_columns(section, table)
    decimals = {c: places([row.values[c] for row in rows if c in row.values]) for c in columns}
    heads = [_head(c, name, rows) for c, name in columns.items()]
    return heads, [_aligned([cell_parts(row.values.get(c), decimals[c]) for row in rows]) for c in columns]


def shown_columns(section: Section, table: Table) -> dict[Column, str]:
    """The columns of metrics that the tables for people have, each with its name."""
    # If a metric judges whole explanations, its values for single concepts are only in the files.
    whole = {c.metric for c in section.columns if c.whole}
    hidden = {metric for metric, info in table.metrics.items() if not info.column}
    columns = [c for c in section.columns if c.metric not in hidden and c.whole == (c.metric in whole)]
    several = {c.metric for c in columns if sum(d.metric == c.metric for d in columns) > 1}
    return {c: f"{c.metric} [{c.variant or 'no variant'}]" if c.metric in several else c.metric for c in columns}


def title(section: Section) -> str:
    """Such as `zebra · minizoo/clean · data minizoo · 3 seeds · held-out images 60`."""
    seeds = sorted({seed for row in section.rows for seed in row.seeds})
    parts = [section.cls, section.classifier]
    if section.data and section.data != section.classifier:
        parts.append(f"data {section.data}")
    parts.append(f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds")
    if section.heldout is not None:
        parts.append(f"held-out {'texts' if section.highlighted else 'images'} {section.heldout}")
    return " · ".join(parts)


def _head(column: Column, name: str, rows: list[Row]) -> str:
    details = [row.values[column].details for row in rows if column in row.values]
    null = " (null)" if any(NULL_MEAN in d for d in details) else ""
    chance = " (chance)" if any(CHANCE in d for d in details) else ""
    return name + ARROWS.get(column.direction, "") + null + chance


def concept_text(row: Row) -> str:
    """The rank and name of a concept, or why there is none."""
    if row.status != "ok":
        return f"{row.status} ({plural('seed', row.seeds)}): {row.reason}"
    if row.rank is None:
        return f"{row.reason} ({plural('seed', row.seeds)})"
    name, count = next(iter(row.names.items()), ("", 0))
    agreed = f" ({count}/{len(row.seeds)})" if count < len(row.seeds) else ""
    rank = f"C{row.rank}"
    names = [rank if text in ("", rank) else f"{rank} {text}" for text in _with_words(name, row.words.get(name, ()))]
    return next((text for text in names if len(text + agreed) <= CONCEPT), names[-1]) + agreed


def _with_words(name: str, words: Sequence[str]) -> list[str]:
    """The name with the most words allowed, then with fewer and fewer, at last alone."""
    return [named(name, words[:n]) for n in range(min(WORDS, len(words)), -1, -1)]


def places(values: list[Value]) -> int:
    """Decimals of a column, by its largest value: 2 as a rule, 3 if all are tiny, 1 for hundreds, 0 for thousands."""
    top = max((abs(v.value) for v in values if v.value is not None), default=0.0)
    if top >= 100:
        return 1 if top < 1000 else 0
    return 2 if top >= 0.095 or top == 0 else 3


def cell_parts(value: Value | None, decimals: int) -> tuple[str, str, str, str]:
    """The parts of a cell: value, spread, null mean and chance in parentheses, and marks; each may be empty."""
    if value is None:
        return "", "", "", ""
    if value.value is None:
        # If a metric cannot read such samples, the modality is the whole reason, and fits into the cell.
        kinds = set(value.reasons.values()) & {"image", "text"}
        return f"n/a ({kinds.pop()})" if len(kinds) == 1 else "n/a", "", "", ""
    spread = "" if value.spread is None else f"± {_short(value.spread, decimals)}"
    beside = [f"({_short(value.details[key], decimals)})" for key in (NULL_MEAN, CHANCE) if key in value.details]
    return _fixed(value.value, decimals), spread, " ".join(beside), _marks(value)


def _marks(value: Value) -> str:
    """An asterisk if the concept raises the class, and a dagger if it lowers it; with k/n if not in all n seeds.

    A double dagger if the metric failed its audit.
    """
    failed = FAILED if value.failed else ""
    if value.outside is None:
        return failed
    marked, n = value.outside
    lowers = value.lowers or 0
    signs = (("*", marked - lowers), ("†", lowers))
    return "".join(sign if k == n else f"{sign}{k}/{n}" for sign, k in signs if k) + failed


def _aligned(cells: list[tuple[str, str, str, str]]) -> list[str]:
    """The cells of a column as strings whose parts are aligned."""
    sizes = [max(map(len, part)) for part in zip(*cells, strict=True)]
    pads = [str.rjust, str.rjust, str.rjust, str.ljust]
    return [
        " ".join(pad(part, size) for part, pad, size in zip(cell, pads, sizes, strict=True) if size)
        if any(cell)
        else ""
        for cell in cells
    ]


def _fixed(number: float, places: int) -> str:
    text = f"{number:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _short(number: float, places: int) -> str:
    """The number without the zero before the decimal point, for a spread or a reference value: ``.02``."""
    text = _fixed(number, places)
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def shown_seconds(number: float) -> str:
    """Seconds with one decimal where they are few."""
    return f"{number:.1f}" if number < 10 and not math.isclose(number, round(number)) else f"{number:.0f}"
