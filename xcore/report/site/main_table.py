"""The table of the page: a row for each concept of each method and class, with what hover and focus tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xcore.report.layout import ARROWS, cell_parts, concept_text, places, shown_columns, shown_seconds
from xcore.report.table import CHANCE, NULL_MEAN, Column, Row, Section, Table, Value

DIRECTIONS = {"higher": "higher is better", "lower": "lower is better"}


class Head(NamedTuple):
    """The head of a column."""

    text: str
    tip: str
    """What the column shows."""
    number: bool


class Cell(NamedTuple):
    """A cell of the table."""

    text: str
    tip: str = ""
    order: str = ""
    """What the column is sorted by: a number as text, or nothing where there is no value."""


class TableRow(NamedTuple):
    """A row of the table."""

    cells: tuple[Cell, ...]
    dim: bool
    """The concept is not shown to matter."""
    unfinished: str
    """Why a failed or skipped cell has no concept; empty for concepts."""


class MainTable(NamedTuple):
    """All sections in one table."""

    heads: tuple[Head, ...]
    rows: tuple[TableRow, ...]
    cut: bool
    """Whether only the first concepts of a method are shown."""


def main_table(table: Table, definitions: Mapping[str, str]) -> MainTable:
    """The rows of all sections, with the first `Table.top` concepts of each method.

    Parameters
    ----------
    table
        The table of the run.
    definitions
        Metric -> what it measures, in one sentence.
    """
    names: dict[str, Column] = {}
    for section in table.sections:
        for column, name in shown_columns(section, table).items():
            names.setdefault(name, column)
    shown = {id(section): _shown(section, table) for section in table.sections}
    decimals = {
        name: places([v for s in table.sections for v in _values(s, shown[id(s)], table, name)]) for name in names
    }
    places_differ = len({(s.data, s.classifier) for s in table.sections}) > 1
    timed = any(row.seconds is not None for s in table.sections for row in shown[id(s)])
    heads = [Head("Class", "the explained class", False), Head("Method", "the explanation method", False)]
    heads.append(Head("Concept", "rank and name of the concept, the most important one first", False))
    heads += [_head(name, column, table, definitions) for name, column in names.items()]
    heads += [Head("s", "seconds that the explanation took, with its share of common work", True)] if timed else []
    rows = []
    for section in table.sections:
        columns = {name: column for column, name in shown_columns(section, table).items()}
        for row in shown[id(section)]:
            where = f"{section.cls} · {section.classifier}" if places_differ else section.cls
            cells = [Cell(where, order=where), Cell(row.label, order=row.label)]
            cells.append(Cell(concept_text(row), _named(row), order=f"{row.rank or 0}"))
            cells += [_cell(row, columns.get(name), name, decimals[name]) for name in names]
            if timed:
                spent = None if row.seconds is None else row.seconds + (row.shared_seconds or 0)
                cells.append(
                    Cell("" if spent is None else shown_seconds(spent), "", "" if spent is None else repr(spent))
                )
            rows.append(TableRow(tuple(cells), row.irrelevant, "" if row.status == "ok" else row.reason))
    cut = any(len(shown[id(s)]) < len(s.rows) for s in table.sections)
    return MainTable(tuple(heads), tuple(rows), cut)


def _shown(section: Section, table: Table) -> list[Row]:
    return [row for row in section.rows if row.rank is None or row.rank <= table.top]


def _values(section: Section, rows: list[Row], table: Table, name: str) -> list[Value]:
    columns = [column for column, own in shown_columns(section, table).items() if own == name]
    return [row.values[column] for row in rows for column in columns if column in row.values]


def _head(name: str, column: Column, table: Table, definitions: Mapping[str, str]) -> Head:
    info = table.metrics.get(column.metric)
    said = [definitions.get(column.metric, ""), DIRECTIONS.get(column.direction, ""), info.caveat if info else ""]
    if column.whole:
        said.append("judges a whole explanation")
    return Head(name + ARROWS.get(column.direction, ""), "; ".join(text for text in said if text), True)


def _named(row: Row) -> str:
    """What the seeds called the concept, and the words of it."""
    if row.rank is None:
        return ""
    several = ", ".join(f"{name or f'C{row.rank}'} in {count}" for name, count in row.names.items())
    said = [f"names in {len(row.seeds)} seeds: {several}"] if len(row.names) > 1 else []
    said += [f"words: {', '.join(words)}" for words in [*row.words.values()][:1]]
    return "; ".join(said)


def _cell(row: Row, column: Column | None, name: str, decimals: int) -> Cell:
    value = row.values.get(column) if column is not None else None
    if value is None or column is None:
        return Cell("")
    text = " ".join(part for part in cell_parts(value, decimals) if part)
    return Cell(text, f"{name}: {value_says(value, column)}", "" if value.value is None else repr(value.value))


def value_says(value: Value, column: Column) -> str:
    """What stands behind a value: its spread, over what and how many, null, test, variant; or why there is none."""
    if value.value is None:
        return f"no value: {'; '.join(dict.fromkeys(value.reasons.values()))}"
    said = [f"{value.value:.4g}"]
    if value.spread is not None:
        over = f" over {value.over}" if value.over else ""
        said[0] += f" ± {value.spread:.2g}{over}"
    if value.n:
        said.append(f"n {value.n}")
    said += [f"{key.replace('_', ' ')} {value.details[key]:.3g}" for key in (NULL_MEAN, CHANCE) if key in value.details]
    if value.failed:
        said.append(f"the metric failed its audit for this kind of explanation ({', '.join(value.failed)})")
    said += [f"p {value.details['p']:.2g}"] if "p" in value.details else []
    if value.outside is not None:
        k, n = value.outside
        said.append(f"outside its null in {k} of {n} seeds")
    if value.lowers:
        said.append(f"lowers the class in {value.lowers}")
    if column.variant:
        said.append(column.variant)
    if column.direction in DIRECTIONS:
        said.append(DIRECTIONS[column.direction])
    if value.reasons:
        said.append(
            f"no value in seeds {', '.join(map(str, value.reasons))}: "
            + "; ".join(dict.fromkeys(value.reasons.values()))
        )
    return "; ".join(said)
