"""The concepts of an explanation as rows (name, words, importance, evidence), for the terminal, JSON and notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xcore.contract.types import Explanation
from xcore.report.highlighted import named, synonyms
from xcore.report.layout import Grid, Line, metric_columns, title
from xcore.report.table import Section, Table, clean

ConceptRow = dict[str, Any]
"""``rank`` (1 = most important), ``concept``, ``words`` (without the name), ``importance``, ``importance_is`` and
``evidence`` (statistic -> number)."""
EVIDENCE = (
    "importance_sd",
    "effect_sd",
    "se",
    "lo",
    "hi",
    "null_mean",
    "p",
    "p_holm",
    "lift",
    "cav_accuracy",
    "prevalence",
    "reliability",
)
"""The statistics that are shown beside the importance, in this order, under the names that methods give them."""
SHOWN = 20
"""Concepts of an explanation that are shown to people."""
WORDS = 6
"""How many words stand beside the name of a concept."""


def concept_rows(explanation: Explanation) -> list[ConceptRow]:
    """The concepts of an explanation, most important first, as plain data."""
    return [
        concept_row(i, explanation.importance_is, c.name, c.words, c.importance, c.evidence)
        for i, c in enumerate(explanation.concepts)
    ]


def concept_row(
    index: int,
    importance_is: str,
    name: str,
    words: Sequence[str],
    importance: float,
    evidence: Mapping[str, float],
) -> ConceptRow:
    """One row; `index` is that of the concept in `Explanation.concepts`."""
    return {
        "rank": index + 1,
        "concept": name,
        "words": list(synonyms(name, words)),
        "importance": float(importance),
        "importance_is": importance_is,
        "evidence": {key: float(value) for key, value in evidence.items()},
    }


def concept_grids(table: Table, rows: Iterable[Mapping[str, Any]]) -> list[Grid]:
    """The concepts of each explanation of a run as strings in cells, with their scores where there are any.

    Parameters
    ----------
    table
        The table of the run.
    rows
        The rows that the table was built from.

    Returns
    -------
    list[Grid]
        One for each section of the table, if the run has one method and one seed. The first columns are the rank and
        the concept with its words, the others are numbers.
    """
    given = list(rows)
    return [_grid(section, table, [row for row in given if _is_of(row, section)]) for section in table.sections]


def _is_of(row: Mapping[str, Any], section: Section) -> bool:
    place = (clean(row["data"]), clean(row["classifier"]), clean(row["class"]))
    return place == (section.data, section.classifier, section.cls)


def _grid(section: Section, table: Table, rows: list[Mapping[str, Any]]) -> Grid:
    found = [row for row in rows if row["rank"] is not None][:SHOWN]
    head, lines = ["", "Concept"], []
    columns: list[list[str]] = []
    if found:
        head.append("Importance")
        columns.append(_numbers([row["importance"] for row in found]))
        for key in EVIDENCE:
            if any(key in row["evidence"] for row in found):
                head.append(key.replace("_", " "))
                columns.append(_numbers([row["evidence"].get(key) for row in found]))
        heads, printed = metric_columns(section, [row for row in section.rows if row.rank][:SHOWN], table)
        head += heads
        columns += printed
    for i, row in enumerate(found):
        name = named(clean(row["concept"]), [clean(word) for word in row["words"][:WORDS]])
        lines.append(Line((str(row["rank"]), name, *(column[i] for column in columns))))
    for other in section.rows:
        if other.rank is None:
            reason = other.reason if other.status == "ok" else f"{other.status}: {other.reason}"
            lines.append(Line(("", reason, *("" for _ in columns)), unfinished=other.status != "ok"))
    heading = f"{clean(rows[0]['label'])} · {title(section)}"
    return Grid(heading, tuple(head), tuple(lines), (*_first_notes(rows), *section.notes))


def _first_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the importance is, and how many concepts are not shown."""
    units = dict.fromkeys(clean(row["importance_is"]) for row in rows if row.get("importance_is"))
    notes = [f"Importance: {unit}" for unit in units]
    found = [row for row in rows if row["rank"] is not None]
    if len(found) > SHOWN:
        notes.append(f"the first {SHOWN} of {len(found)} concepts; --json prints all, with all their evidence")
    return notes


def _numbers(values: Sequence[float | None]) -> list[str]:
    """Numbers with three significant digits, as many decimals for all as the largest of them needs."""
    known = [abs(value) for value in values if value is not None]
    top = max(known, default=0.0)
    places = 3 if top < 1 else 2 if top < 10 else 1 if top < 100 else 0
    return ["" if value is None else _fixed(value, places) for value in values]


def _fixed(value: float, places: int) -> str:
    """The number with these decimals; one that they would show as zero keeps two significant digits."""
    if value and abs(value) < 0.5 * 10**-places:
        return f"{value:.1e}"
    return f"{value:.{places}f}"
