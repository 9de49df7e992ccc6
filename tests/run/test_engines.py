"""Limits, retries, stopping early, and what a run tells while it goes on, with the engine of this process."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from xcore.api import bench, report
from xcore.cli.watch import Best, duration, lines
from xcore.contract import Limits
from xcore.registry import load_registry
from xcore.run.engines import InProcess
from xcore.run.loop import Bench
from xcore.run.plan import make_plan
from xcore.run.progress import Reporter
from xcore.run.progress_files import LIVE, read_live
from xcore.store.run_directory import Store

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
COMMON = {"plugins": [TOY], "data": "toy", "classes": ["red"], "metrics": ["brightness"], "threads": 1}


def run(tmp_path, methods, **keys):
    return bench(methods, out=tmp_path / "run", **{**COMMON, **keys})


class Noted(Reporter):
    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


class Planned:
    """The engine of this process, which writes down what it was given and may stop in the middle."""

    enforces = frozenset({"seconds"})

    def __init__(self, after=99):
        self.works, self.cells, self.after = [], [], after

    def run(self, cells, work):
        self.works.append(work)
        for i, cell in enumerate(cells):
            if i == self.after:
                raise KeyboardInterrupt
            self.cells.append(cell)
            yield work(cell)


@pytest.fixture
def loop(tmp_path):
    registry = load_registry([TOY])

    def made(reporter=None, **keys):
        from xcore.api import request

        common = {key: value for key, value in COMMON.items() if key != "plugins"}
        plan = make_plan(request(["toy", "crash"], "", {**common, "seeds": [0, 1], **keys}, registry), registry)
        return Bench(plan, registry, Store(tmp_path / "run"), reporter or Reporter())

    return made


def test_the_work_is_plain_data_that_any_process_can_be_given(loop, tmp_path):
    engine = Planned()
    loop(cell_timeout=5.0).run(engine)
    (work,) = engine.works
    assert pickle.loads(pickle.dumps(work)) == work
    assert work.limits == Limits(seconds=5.0)
    assert work.threads == 1
    assert len(pickle.dumps(work)) < 5000  # it does not grow with the cells
    # in a process that did not plan, it makes all that it needs, and finds that the cell is finished
    elsewhere = pickle.loads(pickle.dumps(replace(work, token="elsewhere")))
    before, folder = os.getcwd(), set((tmp_path / "run").rglob("*"))
    found = elsewhere(engine.cells[0])
    assert found.status == "ok"
    assert found.cached
    assert os.getcwd() == before
    assert set((tmp_path / "run").rglob("*")) == folder


def test_an_outcome_of_other_code_fails_the_cell(loop):
    class Elsewhere(Planned):
        def run(self, cells, work):
            for cell in cells:
                yield replace(work(cell), record="toy.0123456789abcdef")

    done = loop().run(Elsewhere())
    assert {o.status for o in done.outcomes} == {"ok", "failed"}  # what was written with our code is there


def test_what_is_finished_is_only_scored_and_where_cells_run(loop, tmp_path):
    first, second = Planned(), Planned()
    loop(metrics=[]).run(first)
    done = loop(seeds=[0]).run(second)
    assert [cell.label for cell in second.cells] == ["toy", "crash"]
    assert done.cached == 2
    assert len(list((tmp_path / "run" / "scores").iterdir())) == 2
    third = Planned()
    loop(seeds=[0]).run(third)
    assert not third.works


def test_limits_that_an_engine_does_not_keep_are_said(loop):
    seen = Noted()
    loop(seen, cell_timeout=5.0, cell_memory=100).run(Planned())
    assert [line.partition(" is not kept")[0] for line in seen.lines if "is not kept" in line] == ["--cell-memory"]
    seen = Noted()
    loop(seen, seeds=[3], cell_timeout=5.0, cell_memory=100).run(InProcess())
    assert [line.split()[0] for line in seen.lines if "is not kept" in line] == ["--cell-timeout", "--cell-memory"]
    assert any("use --engine processes" in line for line in seen.lines)


def test_failed_cells_are_tried_again(tmp_path):
    seen = Noted()
    made = run(tmp_path, ["crash"], seeds=[0, 1], retries=2, reporter=seen)
    assert [o.status for o in made.result.outcomes] == ["ok", "failed"]
    tried = [line for line in seen.lines if "will be tried again" in line]
    assert [line.rpartition("at most ")[2] for line in tried] == ["2 times", "1 time"]


def test_the_first_failure_stops_a_run_that_asks_for_it_and_the_rest_is_not_done_yet(tmp_path):
    seen = Noted()
    made = run(tmp_path, ["crash", "toy"], seeds=[1, 0], fail_fast=True, reporter=seen)
    assert [o.status for o in made.result.outcomes] == ["failed", "pending", "pending", "pending"]
    assert made.broken == "1 cell(s) failed, 0 score(s) failed; 3 cells not done yet"
    assert any("3 cell(s) are not done" in line for line in seen.lines)
    assert read_live(tmp_path / "run").state == "stopped"
    assert report(tmp_path / "run").broken == made.broken
    whole = run(tmp_path, ["crash", "toy"], seeds=[1, 0])
    assert not whole.result.count("pending")


def test_what_an_interrupted_run_tells(loop, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        loop().run(Planned(after=3))
    live = read_live(tmp_path / "run")
    assert (live.state, live.done, live.cells) == ("interrupted", 3, 4)
    assert live.counts == {"ok": 3, "failed": 0, "skipped": 0} or live.counts["failed"] == 1


def test_what_a_run_tells_while_it_goes_on(loop, tmp_path, monkeypatch):
    """Each outcome is looked at from outside, as `xcore watch` does."""
    looks = []

    class Watched(Planned):
        def run(self, cells, work):
            for outcome in super().run(cells, work):
                looks.append(read_live(tmp_path / "run"))  # its worker has just scored it
                yield outcome

    loop().run(Watched())
    assert [look.done for look in looks] == [0, 1, 2, 3]
    assert all(look.state == "running" for look in looks)
    assert looks[0].left is None
    assert looks[2].left > 0
    (worker,) = looks[1].workers
    assert worker.cell == "crash  red  seed 0"
    assert "scoring brightness" in worker.doing
    (failure,) = read_live(tmp_path / "run").failures
    assert failure.startswith("crash  red  seed 1: ValueError: seed 1 is unlucky, at toy_plugin.py:")
    text = "\n".join(lines(looks[2], Best(tmp_path / "run").now(), tmp_path / "run"))
    assert text.startswith("2 of 4 cells done (2 ok this time); running for 0 s, about 0 s left") or "left" in text
    assert "best brightness so far: " in text
    assert read_live(tmp_path / "run").state == "done"
    assert not list((tmp_path / "run" / LIVE).glob("worker-*"))


def test_the_best_so_far_is_that_of_the_table_and_no_control(tmp_path):
    keys = {"classes": ["red", "green"], "metrics": ["brightness", "spread"], "seeds": [0, 1]}
    rows = run(tmp_path, ["toy", "asks"], controls=["rude"], **keys).rows
    values = {}
    for row in rows:
        score = row["scores"].get("brightness", {})
        if row["label"] != "rude" and score.get("value") is not None:
            values.setdefault((row["label"], row["class"], row["seed"]), []).append(score["value"])
    means = {}
    for (label, *_), own in values.items():
        means.setdefault(label, []).append(sum(own) / len(own))
    found = {best["metric"]: best for best in Best(tmp_path / "run").now()}
    best = found["brightness"]
    assert best["mean"] == pytest.approx(max(sum(own) / len(own) for own in means.values()))
    assert best["label"] in means
    assert (best["labels"], best["scores"], best["direction"]) == (2, 4, "higher")
    run(tmp_path / "other", ["toy", "rude"], controls=["asks"], **keys)
    assert {best["labels"] for best in Best(tmp_path / "other" / "run").now()} == {2}


def test_a_run_whose_process_was_killed_is_gone_and_damaged_files_tell_nothing(loop, tmp_path):
    loop().run()
    file = tmp_path / "run" / LIVE / "run.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "ended": "", "process": 2**22 + 1}))
    assert read_live(tmp_path / "run").state == "gone"
    for damaged in ("", "[]", "{}", '{"cells": "x"}', json.dumps({**about, "began": None}), "[" * 100_000):
        file.write_text(damaged)
        assert read_live(tmp_path / "run") is None


def test_durations_in_words():
    assert [duration(s) for s in (4.4, 75, 3725)] == ["4 s", "1 min 15 s", "1 h 2 min"]
