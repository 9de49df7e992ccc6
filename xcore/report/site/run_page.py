"""The page of a run: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.files import read_json, write_text
from xcore.contract.types import Outcome
from xcore.report.page import PAGE, document
from xcore.report.rows import metric_definitions
from xcore.report.site.classes import Backgrounds, Level, PageCell, Pictures, read_pictures, sections
from xcore.report.site.found import findings, plain_mapping
from xcore.report.site.main_table import main_table
from xcore.report.site.provenance import COSTS, answers, cost_rows, digests, failures, provenance, question
from xcore.report.table import Table, clean

if TYPE_CHECKING:
    from xcore.run.loop import Bench

LIMIT = 14_000_000
"""Characters of pictures on a page: the first of `LEVELS` that stays below is chosen, to stay below 20 MB."""
LEVELS = (
    Level(True, 5, 6, True),
    Level(True, 3, 4, True),
    Level(False, 5, 6, True),
    Level(False, 3, 5, True),
    Level(False, 3, 4, False),
    Level(False, 3, 2, False),
    Level(False, 1, 1, False),
    Level(False, 0, 0, False),
)
ROWS = 60
"""Rows of the table that are there at once; the script adds the others."""
TEXTS = 5
"""Texts of an explanation that are shown at once; the others are folded."""


def write_page(
    bench: Bench,
    outcomes: Sequence[Outcome],
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    verdicts: Sequence[str] = (),
) -> Path:
    """Write the page of a run into its directory, whole or not at all, and return its path."""
    root = bench.store.root
    cells = [_cell(bench, outcome) for outcome in outcomes]
    about = read_json(root / "run.json") if (root / "run.json").is_file() else {}
    definitions = metric_definitions(bench.plan.metrics, bench.workbench.registry)
    text = page(table, rows, cells, about=about, definitions=definitions, verdicts=verdicts, found=findings(root))
    write_text(root / PAGE, text)
    return root / PAGE


def _cell(bench: Bench, outcome: Outcome) -> PageCell:
    identity = bench.identity(outcome.cell)
    record = bench.store.whole(identity) if outcome.status != "pending" else None
    return PageCell(outcome, record or {}, bench.store.find(identity) if record else None)


def page(
    table: Table,
    rows: Sequence[Mapping[str, Any]] = (),
    cells: Sequence[PageCell] = (),
    *,
    about: Mapping[str, Any] | None = None,
    definitions: Mapping[str, str] | None = None,
    verdicts: Sequence[str] = (),
    found: tuple[Sequence[Any], Sequence[str]] = ((), ()),
) -> str:
    """The page of a run as a document.

    Parameters
    ----------
    table, rows
        The table, and the rows that it was built from.
    cells
        The cells of the run with their records.
    about
        ``run.json``.
    definitions
        Metric -> what it measures, in one sentence.
    verdicts
        What gates and the comparison with a baseline say, one line each.
    found
        The findings below the run, and a line for each that cannot be read (see `xcore.report.site.found`).
    """
    about = about or {}
    pictures = {i: read_pictures(cell) for i, cell in enumerate(cells) if cell.outcome.status == "ok"}
    level = _level(cells, pictures)
    backgrounds = Backgrounds()
    suite = plain_mapping(plain_mapping(about.get("plan")).get("suite"))
    controls = frozenset(map(clean, suite.get("controls") or ()))
    made = sections(table, rows, cells, pictures, level, backgrounds, controls)
    failed, waiting = failures(cells)
    costs = cost_rows(cells)
    origin = provenance(about, table, cells)
    links = [("asked", "Answer"), ("table", "Table"), *((section.id, section.cls) for section in made)]
    links += [("findings", "Findings")] if any(found) else []
    links += [(name, name.capitalize()) for name, has in (("cost", costs), ("failures", failed)) if has]
    links += [("provenance", "Provenance")] if origin else []
    content = {
        "title": _title(table),
        "links": links,
        "question": question(table, cells),
        "answers": answers(table, cells, controls),
        "verdicts": [clean(line) for line in verdicts],
        "waiting": waiting,
        "failures": failed,
        "cells": len(cells),
        "table": main_table(table, definitions or {}),
        "top": table.top,
        "legend": table.notes,
        "sections": made,
        "findings": found[0],
        "unread": found[1],
        "costs": costs,
        "cost_heads": [
            ("Method", "", False),
            ("cells", "explanations", True),
            *((h, says, True) for _, h, says in COSTS),
        ],
        "provenance": origin,
        "digests": digests(cells),
        "remarks": [] if level == LEVELS[0] else [_left_out(level)],
        "limits": {"rows": ROWS, "texts": TEXTS},
    }
    return document("page.html", content, backgrounds.rules())


def _level(cells: Sequence[PageCell], pictures: Mapping[int, Pictures]) -> Level:
    """How much can be shown within the limit."""
    seen: set[tuple[str, str, str, str]] = set()
    first = {}
    for i in pictures:
        c = cells[i].outcome.cell
        key = (c.label, c.data.text, c.classifier.text, c.cls)
        first[i] = key not in seen
        seen.add(key)
    images = sum({uri: len(uri) for own in pictures.values() for uri in own.gallery.images}.values())
    for level in LEVELS[:-1]:
        if 2 * images + sum(own.size(level, first[i]) for i, own in pictures.items()) <= LIMIT:
            return level
    return LEVELS[-1]


def _left_out(level: Level) -> str:
    shown = (
        f"the first {level.tiles} pictures of the first {level.concepts} concepts"
        if level.tiles
        else "no pictures of concepts"
    )
    seeds = "" if level.all_seeds else ", of one seed of each method,"
    drawn = "" if level.drawn else " and no pictures that methods drew themselves"
    return f"So that this file stays below 20 MB, it has {shown}{seeds}{drawn}; all of them lie in the run directory."


def _title(table: Table) -> str:
    labels = list(dict.fromkeys(row.label for section in table.sections for row in section.rows))
    classes = list(dict.fromkeys(section.cls for section in table.sections))
    what = ", ".join(classes) if len(classes) <= 4 else f"{len(classes)} classes"
    who = ", ".join(labels) if len(labels) <= 4 else f"{len(labels)} methods"
    return f"Concepts of {what} by {who}"
