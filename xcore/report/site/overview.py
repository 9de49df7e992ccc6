"""A folder of static pages over many runs: an index, the page of each run, and a comparison of all with the first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xcore.base.errors import UsageError, XcoreError
from xcore.base.files import slug, write_text
from xcore.report.layout import Grid, shown_seconds
from xcore.report.page import document
from xcore.report.site.found import plain_mapping
from xcore.report.table import Table, clean

INDEX, COMPARISON = "index.html", "compare.html"
HEADS = (
    ("Run", "the name of the run directory; a link to its page", False),
    ("Written", "when the run was started, in UTC", False),
    ("Methods", "labels of the methods, with controls", False),
    ("Classes", "the explained classes", False),
    ("Classifier", "the network", False),
    ("Cells", "explanations that were made, of those that were asked", True),
    ("s", "seconds of all explanations", True),
)


class ViewedRun(NamedTuple):
    """A run as the index shows it."""

    path: Path
    table: Table
    about: Mapping[str, Any]
    """``run.json``."""
    page: str
    """The page of the run as a document."""
    done: int
    cells: int
    seconds: float


def write_overview(runs: Sequence[ViewedRun], out: Path, grids: Sequence[Grid], unlike: str = "") -> list[Path]:
    """Write the index, a page for each run, and the comparison, and return their paths, the index first.

    Parameters
    ----------
    runs
        The runs, in the order in which they are listed.
    out
        The folder; it is made if it does not exist. Other files in it stay.
    grids
        The tables of the comparison of all runs with the first; none = there is no comparison.
    unlike
        Why the runs cannot be compared, in one sentence.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}", "choose another folder with --out") from error
    names = _names(runs)
    paths = []
    for run, name in zip(runs, names, strict=True):
        (out / name).mkdir(exist_ok=True)
        paths.append(out / name / INDEX)
        write_text(paths[-1], run.page)
    if grids:
        content = {"title": f"{len(runs)} runs compared with {clean(runs[0].path.name)}", "grids": grids}
        paths.append(out / COMPARISON)
        write_text(paths[-1], document("comparison_page.html", content))
    rows = [_row(run, name) for run, name in zip(runs, names, strict=True)]
    content = {
        "title": f"{len(runs)} run{'' if len(runs) == 1 else 's'} of xcore bench",
        "heads": HEADS,
        "rows": rows,
        "comparison": COMPARISON if grids else "",
        "unlike": clean(unlike),
    }
    write_text(out / INDEX, document("overview.html", content))
    return [out / INDEX, *paths]


def compared(runs: Sequence[Path]) -> tuple[list[Grid], str]:
    """The tables of a comparison with the first run, or why there is none."""
    if len(runs) < 2:
        return [], ""
    from xcore.report.comparison import compare
    from xcore.report.comparison.show import grids

    try:
        made = compare(*runs)
    except XcoreError as error:
        return [], f"The runs are not compared: {error}"
    return grids(made.name, made.pairs), ""


def _names(runs: Sequence[ViewedRun]) -> list[str]:
    """A folder for each run, by its name; a number is added where two are alike."""
    found: list[str] = []
    for run in runs:
        name = base = slug(run.path.resolve().name)
        number = 1
        while name.casefold() in {other.casefold() for other in found}:
            number += 1
            name = f"{base}-{number}"
        found.append(name)
    return found


def _row(run: ViewedRun, name: str) -> dict[str, Any]:
    sections = run.table.sections
    written = run.about.get("written")
    known = isinstance(written, (int, float))
    return {
        "name": clean(run.path.resolve().name),
        "link": f"{name}/{INDEX}",
        "written": time.strftime("%Y-%m-%d %H:%M", time.gmtime(written)) if known else "",
        "order": written if known else "",
        "methods": ", ".join(dict.fromkeys(row.label for section in sections for row in section.rows)),
        "classes": ", ".join(dict.fromkeys(section.cls for section in sections)),
        "classifiers": ", ".join(dict.fromkeys(section.classifier for section in sections)),
        "suite": clean(plain_mapping(run.about.get("plan")).get("name", "")),
        "done": run.done,
        "cells": run.cells,
        "seconds": shown_seconds(run.seconds),
        "exact": run.seconds,
    }
