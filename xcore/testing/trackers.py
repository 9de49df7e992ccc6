"""What every tracker must keep."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xcore.contract.types import Cell, Outcome, Ref, StartedRun
from xcore.testing.world import global_state

if TYPE_CHECKING:
    from xcore.contract.protocols import Tracker


class TrackerTests:
    """What every tracker must keep. Subclasses give the fixture ``tracker``."""

    @pytest.fixture
    def tracker(self) -> Tracker:
        raise NotImplementedError("subclasses of TrackerTests give the fixture `tracker`")

    @pytest.fixture
    def cells(self) -> list[Cell]:
        return [Cell("made", Ref("made"), Ref("tiny"), Ref("live"), "stripes", seed) for seed in range(3)]

    @pytest.fixture
    def started(self, cells: list[Cell], tmp_path: Path) -> StartedRun:
        plan = {"cells": [asdict(cell) for cell in cells], "metrics": [asdict(Ref("TS"))], "suite": {}}
        return StartedRun("made", tmp_path, json.loads(json.dumps(plan)), cells=len(cells), finished=0)

    @pytest.fixture
    def rows(self, cells: list[Cell]) -> list[dict[str, Any]]:
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

    def test_a_run_from_its_start_to_its_table(
        self, tracker: Tracker, started: StartedRun, cells: list[Cell], rows: list[dict[str, Any]]
    ) -> None:
        before = global_state()
        tracker.run_started(started)
        tracker.cell_ended(Outcome(cells[0], "ok", "record", seconds=1.0))
        tracker.cell_ended(Outcome(cells[1], "failed", "record", reason="ValueError: no", seconds=1.0))
        tracker.cell_ended(Outcome(cells[2], "skipped", "record", reason="not for this", seconds=0.0))
        tracker.table_ready(rows)
        tracker.close()
        assert global_state() == before

    def test_a_run_that_is_finished_already(self, tracker: Tracker, started: StartedRun) -> None:
        tracker.run_started(started)
        tracker.table_ready([])
        tracker.close()

    def test_a_run_that_never_began(self, tracker: Tracker) -> None:
        tracker.close()
