"""The tracker against a stand-in that writes down its calls, and against trackio itself where that is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from xcore_trackio.options import TrackioOptions
from xcore_trackio.tracker import Trackio, configuration, means, table

from xcore.contract import Cell, MissingError, Outcome, Ref, StartedRun
from xcore.testing import TrackerTests


def score(value):
    return {"value": value}


ROWS = [
    {
        **{"label": "craft", "classifier": "net", "class": "zebra", "seed": 0, "rank": rank, "concept": "a|b"},
        **{"status": "ok", "reason": "", "scores": {"TS": score(value)}},
        "overall": {"AUC": score(0.5)} if rank == 1 else {},
    }
    for rank, value in ((1, 0.25), (2, 0.75), (3, None))
]


@pytest.fixture
def calls(monkeypatch):
    """What trackio is asked to do."""
    noted = []

    class Run:
        def log(self, values):
            noted.append(("log", values))

        def alert(self, title, text, level):
            noted.append(("alert", title, text, level))

    def init(project, **keys):
        noted.append(("init", project, keys))
        return Run()

    stand_in = SimpleNamespace(
        init=init,
        finish=lambda: noted.append(("finish",)),
        Table=lambda data: ("table", data),
        AlertLevel=SimpleNamespace(WARN="warn"),
    )
    monkeypatch.setitem(sys.modules, "trackio", stand_in)
    return noted


def cell(seed=0):
    return Cell("craft", Ref("craft"), Ref("net"), Ref("minizoo"), "zebra", seed)


class TestContract(TrackerTests):
    @pytest.fixture
    def tracker(self, calls):
        return Trackio(TrackioOptions())


def test_a_run_is_told_in_a_few_calls(calls, tmp_path):
    plan = {
        "cells": [{"label": "craft", "classifier": {"text": "net"}, "data": {"text": "zoo"}, "cls": "zebra", "seed": 0}]
    }
    started = StartedRun("smoke", tmp_path / "smoke-1", {**plan, "metrics": [{"text": "TS"}]}, cells=3, finished=1)
    tracker = Trackio(TrackioOptions(project="zoo", space="me/board"))
    tracker.run_started(started)
    tracker.cell_ended(Outcome(cell(0), "ok", "x", seconds=2.5))
    tracker.cell_ended(Outcome(cell(1), "failed", "y", reason="ValueError: no", seconds=0.5))
    tracker.table_ready(ROWS)
    tracker.close()
    tracker.close()
    (_, project, keys), *rest = calls
    assert (project, keys["name"], keys["space_id"], keys["resume"]) == ("zoo", "smoke-1", "me/board", "allow")
    assert keys["config"] == configuration(started)
    assert keys["config"]["methods"] == ["craft"]
    assert rest == [
        ("log", {"cells/done": 2, "cells/ok": 1, "cells/failed": 0, "cells/skipped": 0}),
        ("log", {"seconds/craft": 2.5}),
        ("log", {"cells/done": 3, "cells/ok": 1, "cells/failed": 1, "cells/skipped": 0}),
        ("log", {"seconds/craft": 0.5}),
        ("alert", "a cell failed", "craft, zebra, seed 1: ValueError: no", "warn"),
        ("log", {"TS/craft": 0.5, "AUC/craft": 0.5}),
        ("log", {"table": ("table", table(ROWS))}),
        ("finish",),
    ]


def test_means_and_table_leave_out_what_has_no_value():
    assert means(ROWS) == {"TS/craft": 0.5, "AUC/craft": 0.5}
    assert [row["TS"] for row in table(ROWS)] == [0.25, 0.75, None]
    assert all(list(row) == list(table(ROWS)[0]) for row in table(ROWS))
    assert (means([]), table([])) == ({}, [])


def test_a_missing_trackio_is_told_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(MissingError, match="trackio cannot be imported") as told:
        Trackio(TrackioOptions())
    assert told.value.hint == "pip install 'xcore-trackio[trackio]'"


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_itself_keeps_what_it_is_told_in_a_local_folder(tmp_path):
    """In a process of its own: trackio reads TRACKIO_DIR when it is imported, and prints when a process ends."""
    toy = Path(__file__).parents[4] / "tests" / "plugins" / "toy_plugin.py"
    line = ["bench", "--methods", "toy,crash", "--data", "toy", "--class", "red", "--seeds", "2", "--json"]
    line += ["--metrics", "brightness", "--plugin", str(toy), "--out", "run", "--tracker", "trackio"]
    keys = {**os.environ, "TRACKIO_DIR": str(tmp_path / "kept"), "HF_HUB_OFFLINE": "1"}
    keys["XCORE_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-m", "xcore", *line], cwd=tmp_path, env=keys, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1  # a cell failed
    assert "tracker trackio failed" not in done.stderr
    *rows, last = [json.loads(text) for text in done.stdout.splitlines()]  # stdout holds nothing else
    assert last["cells"]["failed"] == 1
    read = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as kept; "
        "print(json.dumps(kept.get_logs('xcore', 'run')))"
    )
    found = subprocess.run([sys.executable, "-c", read], env=keys, capture_output=True, text=True, check=True)
    logs = json.loads(found.stdout.splitlines()[-1])
    assert [log["cells/done"] for log in logs if "cells/done" in log] == [1, 2, 3, 4]
    assert next(log["cells/failed"] for log in reversed(logs) if "cells/failed" in log) == 1
    values = [row["scores"]["brightness"]["value"] for row in rows if row["label"] == "toy"]
    assert next(log["brightness/toy"] for log in logs if "brightness/toy" in log) == pytest.approx(sum(values) / 6)
    assert len(next(log["table"]["_value"] for log in logs if "table" in log)) == len(rows)
