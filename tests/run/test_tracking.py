"""Trackers: what they are told, and that none can harm a run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from xcore.api import bench
from xcore.cli.main import main
from xcore.contract import UsageError, XcoreError
from xcore.run.progress import Reporter
from xcore.run.tracking import Followed
from xcore.testing import TrackerTests

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
PAGE = Path(__file__).parents[2] / "docs" / "trackers.md"
TRACKERS = Path(__file__).parents[1] / "plugins" / "tracker_plugin.py"
COMMON = {"plugins": [TOY, TRACKERS], "data": "toy", "classes": ["red"], "metrics": ["brightness"]}


class Noted(Reporter):
    """Keeps the warnings."""

    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes most of the time of a toy cell, and nothing here looks at pictures."""
    monkeypatch.setattr("xcore.api.draw", None)


@pytest.fixture
def diary(tmp_path, monkeypatch):
    path = tmp_path / "diary"
    monkeypatch.setenv("DIARY", str(path))
    return path


def told(diary):
    return [json.loads(line) for line in diary.read_text().splitlines()]


def run(tmp_path, methods=("toy",), **keys):
    return bench(methods, out=tmp_path / "run", **{**COMMON, **keys})


def figures(folder):
    table = json.loads((folder / "table.json").read_text())
    for section in table["sections"]:
        for row in section["rows"]:
            row["seconds"] = None
    return {**table, "header": {}}


def test_a_tracker_is_told_of_the_run_its_cells_and_its_table(tmp_path, diary):
    run(tmp_path, ["toy", "crash"], seeds=[0, 1], trackers=["diary"])
    start, *cells, table, end = told(diary)
    assert start == ["started", "custom", str(tmp_path / "run"), 4, 0, 4]
    ends = [["toy", 0, "ok"], ["crash", 0, "ok"], ["toy", 1, "ok"], ["crash", 1, "failed"]]
    assert cells == [["cell", *about] for about in ends]
    assert table == ["table", 10]  # three concepts of each, but of the cell that failed
    assert end == ["close"]


def test_what_was_finished_is_counted_and_not_told_again(tmp_path, diary):
    run(tmp_path, seeds=[0])
    run(tmp_path, seeds=[0, 1], trackers=["diary"])
    assert told(diary)[:2] == [["started", "custom", str(tmp_path / "run"), 2, 1, 2], ["cell", "toy", 1, "ok"]]


def test_a_run_that_is_added_to_keeps_its_trackers(tmp_path, diary):
    run(tmp_path, trackers=["diary"])
    diary.unlink()
    bench(add_to=tmp_path / "run", seeds=[0, 1])
    assert ["cell", "toy", 1, "ok"] in told(diary)


@pytest.mark.parametrize("where", ["made", "run_started", "cell_ended", "table_ready", "close", "leaves"])
def test_a_tracker_that_fails_is_told_of_once_and_the_table_is_the_same(tmp_path, diary, monkeypatch, where):
    run(tmp_path, seeds=[0, 1])
    bench(["toy"], out=tmp_path / "plain", **{**COMMON, "seeds": [0, 1]})
    monkeypatch.setenv("TRACKER_FAILS", where)
    reporter, before = Noted(), os.getcwd()
    keys = {**COMMON, "seeds": [0, 1], "trackers": ["sick", "diary"]}
    result = bench(["toy"], out=tmp_path / "followed", reporter=reporter, **keys)
    assert not result.broken
    assert os.getcwd() == before
    assert figures(tmp_path / "followed") == figures(tmp_path / "plain")
    lines = [line for line in reporter.lines if "tracker sick" in line]
    assert len(lines) == 1
    assert "unwell" in lines[0]
    assert told(diary)[-1] == ["close"]  # the other one is told everything
    assert len(told(diary)) == 5


def test_a_tracker_cannot_change_what_it_is_told(tmp_path):
    run(tmp_path)
    plain = figures(tmp_path / "run")
    result = bench(["toy"], out=tmp_path / "other", **{**COMMON, "trackers": ["scribbler"]})
    assert figures(tmp_path / "other") == plain
    assert all(row["label"] == "toy" for row in result.rows)


def test_trackers_are_closed_when_the_run_is_interrupted(tmp_path, diary, monkeypatch):
    class Interrupting(Reporter):
        def end_cell(self, outcome):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, trackers=["diary"], reporter=Interrupting())
    assert [line[0] for line in told(diary)] == ["started", "close"]


@pytest.mark.parametrize(
    ("tracker", "said"),
    [("dairy", "unknown tracker 'dairy' (did you mean 'diary'?)"), ("lacking", "no such library (pip install it)")],
)
def test_a_wrong_name_and_a_missing_library_are_told_before_anything_runs(tmp_path, tracker, said):
    with pytest.raises(XcoreError) as refused:
        run(tmp_path, trackers=[tracker])
    assert said in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_named_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="tracker 'diary' is named twice"):
        run(tmp_path, trackers=["diary", "diary"])


def test_flag_and_list(tmp_path, diary, monkeypatch, capsys):
    def xcore(*words):
        monkeypatch.setattr("sys.argv", ["xcore", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0

    plugins = ["--plugin", str(TOY), "--plugin", str(TRACKERS)]
    request = ["bench", "--methods", "toy", "--data", "toy", "--class", "red", "--metrics", ""]
    xcore(*request, *plugins, "--out", str(tmp_path / "run"), "--tracker", "diary")
    assert told(diary)[-2:] == [["table", 3], ["close"]]
    xcore("show", "diary", *plugins[2:])
    assert "tracker diary: writes a line an event" in capsys.readouterr().out


class TestDocs(TrackerTests):
    """The example on docs/trackers.md, as it stands there."""

    @pytest.fixture
    def tracker(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        space = {"__name__": "example"}
        exec(compile(block, "docs/trackers.md", "exec"), space)
        return space["Lines"](None)


def test_every_message_of_a_reporter_is_passed_on():
    own = {name for name in vars(Reporter) if not name.startswith("_")} - {"live"}
    assert own <= set(vars(Followed))
