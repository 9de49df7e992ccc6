"""What every tracker must keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract.types import Cell, Outcome, Ref, StartedRun
from xcore.testing.checklist import check
from xcore.testing.watching import Given, Subject, Watched, watch

if TYPE_CHECKING:
    from xcore.contract.protocols import Tracker


@dataclass
class Following(Subject):
    """A tracker with a run to follow."""

    tracker: Tracker
    started: StartedRun
    cells: Sequence[Cell]
    rows: Sequence[dict[str, Any]]

    def watch(self) -> Watched:
        """Let it follow a run with a cell that is done, one that failed and one that was skipped."""

        def work() -> None:
            self.tracker.run_started(self.started)
            self.tracker.cell_ended(Outcome(self.cells[0], "ok", "record", seconds=1.0))
            self.tracker.cell_ended(Outcome(self.cells[1], "failed", "record", reason="ValueError: no", seconds=1.0))
            self.tracker.cell_ended(Outcome(self.cells[2], "skipped", "record", reason="not for this", seconds=0.0))
            self.tracker.table_ready(self.rows)
            self.tracker.close()

        return watch(work, Given())


def tracked_cells() -> list[Cell]:
    """Three cells of one method."""
    return [Cell("made", Ref("made"), Ref("tiny"), Ref("live"), "stripes", seed) for seed in range(3)]


def started_run(cells: Sequence[Cell], folder: Path) -> StartedRun:
    """A run of these cells."""
    plan = {"cells": [asdict(cell) for cell in cells], "metrics": [asdict(Ref("TS"))], "suite": {}}
    return StartedRun("made", folder, json.loads(json.dumps(plan)), cells=len(cells), finished=0)


def table_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The rows of one cell with a score, one that failed and one that was skipped."""
    value = {"metric": "TS", "value": 0.5, "spread": None, "over": "", "n": 4, "variant": "", "reason": None}
    found = []
    for cell, status in zip(cells, ("ok", "failed", "skipped"), strict=True):
        made = status == "ok"
        about: dict[str, Any] = {
            "method": "made",
            "label": cell.label,
            "classifier": "tiny",
            "data": "live",
            "class": cell.cls,
        }
        about |= {"seed": cell.seed, "concept": "a" if made else None, "rank": 1 if made else None}
        scores = {"TS": {**value, "details": {}}} if made else {}
        found.append({**about, "status": status, "reason": "", "scores": scores, "overall": {}, "seconds": 1.0})
    return found


@check(
    "tracker",
    why="A tracker is told of every run, and what it raises is told to the user.",
    mend="Take scores and cells of every status.",
)
def a_run_from_its_start_to_its_table(subject: Following) -> None:
    """It follows a run with a cell that is done, one that failed and one that was skipped."""
    subject.watched().result()


@check("tracker", why="A run whose cells are all finished is shown again.", mend="Take a table without rows.")
def a_run_that_is_finished_already(subject: Following) -> None:
    """It follows a run of which nothing is left to do."""
    subject.tracker.run_started(subject.started)
    subject.tracker.table_ready([])
    subject.tracker.close()


@check("tracker", why="A run may fail before it begins; then only `close` is called.", mend="Close what was opened.")
def a_run_that_never_began(subject: Following) -> None:
    """It can be closed where no run was started."""
    subject.tracker.close()
