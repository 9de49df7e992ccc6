"""The concepts of an explanation as rows (name, words, importance, evidence), for the terminal, JSON and notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xcore.contract.types import Concept, Explanation
from xcore.report.highlighted import named, synonyms
from xcore.report.layout import Grid, Line, metric_columns, title
from xcore.report.table import Section, Table, clean

ConceptRow = dict[str, Any]
"""``rank`` (1 = most important), ``concept``, ``words`` (without the name), ``importance``, ``importance_is`` and
``evidence`` (statistic -> number)."""
EVIDENCE = (
    "effect",
    "importance_sd",
    "effect_sd",
    "se",
    "freq",
    "lo",
    "hi",
    "shuffled",
    "null_mean",
    "p",
    "p_holm",
    "lift",
    "cav_accuracy",
    "prevalence",
    "reliability",
)
"""The statistics that are shown beside the importance, in this order, under the names that methods give them. An
effect that is the importance is not shown again."""
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


def explanation_grid(explanation: Explanation) -> Grid:
    """The concepts of one explanation as strings in cells, with importance and evidence."""
    rows = concept_rows(explanation)
    heads, columns = _columns(rows[:SHOWN])
    lines = [
        Line((str(row["rank"]), _named(row), *(column[i] for column in columns))) for i, row in enumerate(rows[:SHOWN])
    ]
    notes = [f"Importance: {clean(explanation.importance_is)}"] if rows and explanation.importance_is else []
    if len(rows) > SHOWN:
        notes.append(f"the first {SHOWN} of {len(rows)} concepts; to_pandas() has all, with all their evidence")
    heading = f"{clean(explanation.target)} explained by {clean(explanation.method)}"
    head = ("", "Concept" if rows else "no concept found", *heads)
    return Grid(heading, head, tuple(lines), (*notes, *map(clean, explanation.notes)))


def _is_of(row: Mapping[str, Any], section: Section) -> bool:
    place = (clean(row["data"]), clean(row["classifier"]), clean(row["class"]))
    return place == (section.data, section.classifier, section.cls)


def _grid(section: Section, table: Table, rows: list[Mapping[str, Any]]) -> Grid:
    found = [row for row in rows if row["rank"] is not None][:SHOWN]
    head, lines = ["", "Concept"], []
    columns: list[list[str]] = []
    if found:
        own_heads, columns = _columns(found)
        heads, printed = metric_columns(section, [row for row in section.rows if row.rank][:SHOWN], table)
        head += [*own_heads, *heads]
        columns += printed
    for i, row in enumerate(found):
        lines.append(Line((str(row["rank"]), _named(row), *(column[i] for column in columns))))
    for other in section.rows:
        if other.rank is None:
            reason = other.reason if other.status == "ok" else f"{other.status}: {other.reason}"
            lines.append(Line(("", reason, *("" for _ in columns)), unfinished=other.status != "ok"))
    heading = f"{clean(rows[0]['label'])} · {title(section)}"
    return Grid(heading, tuple(head), tuple(lines), (*_first_notes(rows), *section.notes))


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Importance and evidence: the heads of the columns, and what stands in them."""
    heads, columns = ["Importance"], [numbers([row["importance"] for row in rows])]
    for key in EVIDENCE:
        if any(key in row["evidence"] for row in rows) and not (key == "effect" and _is_importance(key, rows)):
            heads.append(key.replace("_", " "))
            columns.append(numbers([row["evidence"].get(key) for row in rows]))
    return heads, columns


def _is_importance(key: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a statistic equals the importance in all rows that have it."""
    pairs = [(row["evidence"][key], row["importance"]) for row in rows if key in row["evidence"]]
    return all(math.isclose(value, importance, rel_tol=1e-6, abs_tol=1e-12) for value, importance in pairs)


def _named(row: Mapping[str, Any]) -> str:
    return named(clean(row["concept"]), [clean(word) for word in row["words"][:WORDS]])


def _first_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the importance is, and how many concepts are not shown."""
    units = dict.fromkeys(clean(row["importance_is"]) for row in rows if row.get("importance_is"))
    notes = [f"Importance: {unit}" for unit in units]
    found = [row for row in rows if row["rank"] is not None]
    if len(found) > SHOWN:
        notes.append(f"the first {SHOWN} of {len(found)} concepts; --json prints all, with all their evidence")
    return notes


def interval(concept: Concept) -> tuple[float, float] | None:
    """The interval of a concept's importance, as far as its evidence has one.

    Evidence may hold intervals of several statistics. `lo` and `hi` are those of `effect`, `NAME_lo` and `NAME_hi`
    those of another statistic; only one that equals the importance is meant. Where no statistic does, `lo` and `hi`
    are taken if they enclose the importance.
    """
    own, known = concept.importance, concept.evidence
    same = [name for name, value in known.items() if math.isclose(value, own, rel_tol=1e-6, abs_tol=1e-12)]
    pairs = [(f"{name}_lo", f"{name}_hi") for name in same]
    if "effect" in same or not same:
        pairs.append(("lo", "hi"))
    for low, high in pairs:
        if low in known and high in known and known[low] <= own <= known[high]:
            return known[low], known[high]
    return None


def numbers(values: Sequence[float | None]) -> list[str]:
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
