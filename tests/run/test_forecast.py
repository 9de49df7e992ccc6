"""Forecasts: cost that is known is forecast, nothing is left behind, and what is missing is told."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from xcore.cli import dry_run
from xcore.cli.main import main
from xcore.run import probe
from xcore.run.forecast import STEPS, Amount, Seen, Tick, assemble, rest, whole
from xcore.run.plan import make_plan
from xcore.run.probe import Probe, finished_and_kinds
from xcore.run.workbench import Workbench

PLUGINS = Path(__file__).parents[1] / "plugins"
FILES = [str(PLUGINS / name) for name in ("toy_plugin.py", "growing_plugin.py")]
ABOUT = ["--plugin", FILES[0], "--plugin", FILES[1], "--data", "toy", "--classifier", "toy-net"]


def seconds(value: float) -> Amount:
    return Amount(value, value, 2 * value)


def ticks(times: list[float], total: int, first: int = 1) -> tuple[Tick, ...]:
    return tuple(Tick(first + i, total, seconds(t)) for i, t in enumerate(times))


# -- the arithmetic ----------------------------------------------------------------------------------------------------
def test_steps_that_are_not_taken_take_as_long_as_those_that_are():
    taken = (*ticks([10 + 2.0 * i for i in range(1, STEPS + 1)], STEPS + 1), Tick(STEPS + 1, STEPS + 1, seconds(99)))
    found = whole(Seen(seconds(100), taken), steps=30)
    assert found.likely == seconds(100 + 2 * (30 - STEPS))
    assert found.low.seconds < found.likely.seconds < found.high.seconds
    assert found.low.drawn == found.likely.drawn == found.high.drawn  # what is drawn does not depend on the machine


def test_a_method_that_was_stopped_takes_the_units_that_are_left_and_what_follows_them():
    seen = Seen(seconds(7), ticks([1, 3, 5, 7], 11), stopped=True)  # 6 of its 10 samples are left, of 2 s each
    few = Seen(seconds(5), (*ticks([2, 4], 3), Tick(3, 3, seconds(5))))  # 1 s follows
    found = whole(seen, few=few, share=5)
    assert found.likely.seconds == pytest.approx(7 + 6 * 2 + 5**0.5)
    assert found.low.seconds == pytest.approx(0.85 * (7 + 12) + 1)
    assert found.high.seconds == pytest.approx(1.15 * (7 + 12) + 5)


def test_only_the_latest_units_tell_of_those_that_are_left():
    assert rest(ticks([1, 21, 22, 23], 10), 6).likely.seconds == pytest.approx(6)


def test_the_range_is_wide_where_units_differ():
    even, uneven = (rest(ticks(times, 99), 10) for times in ([0, 1, 2, 3, 4], [0, 1, 2, 2.2, 4]))
    assert even.likely == uneven.likely
    assert uneven.high.seconds - uneven.low.seconds > 3 * (even.high.seconds - even.low.seconds)


def test_a_method_that_tells_of_very_many_steps_is_not_slowed_down(monkeypatch):
    clock, now, looked = probe.Clock(), [0.0], []
    monkeypatch.setattr(clock, "own", lambda: seconds(now[0]))
    monkeypatch.setattr(probe, "rest", lambda *given: looked.append(len(given[0])) or rest(*given))
    watch = probe._Watch(clock)
    watch.start(0.05)
    for step in range(3_000):
        now[0] += 0.001
        watch.step(step, step + 1)
    assert len(watch.ticks) == 3_000
    assert 0 < len(looked) < 50, "all steps so far are looked at when a tenth of the time has passed since"


# -- the probe ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def measured(tmp_path, monkeypatch):
    """(methods, keys) -> the forecast of a suite of the toy world, probed in this process."""
    from xcore.api import request
    from xcore.registry import load_registry

    monkeypatch.setattr(probe, "PATIENCE", 0.5)

    def measure(methods, **keys):
        registry = load_registry(FILES)
        about = {"data": "toy", "classifiers": ["toy-net"], "generator": "painter", "metrics": [], **keys}
        plan = make_plan(request(methods, "", about, registry), registry)
        _, kinds = finished_and_kinds(plan, registry, tmp_path / "run", False)
        assert not (tmp_path / "run").exists()
        found = Probe(plan, registry, tmp_path / "probe", lambda *about: None, lambda text: None).measure(kinds)
        return assemble(kinds, found, plan, Amount())[0], found

    return measure


def test_samples_are_forecast_from_some_of_them(measured):
    options = {"sampling": {"each": 0.2, "after": 0.3}}
    total, found = measured(["sampling"], set=options, classes=["red", "blue"], seeds=[0, 1], budget={"samples": 20})
    assert 4 * 4.3 / 1.5 < total.likely.seconds < 4 * 4.3 * 1.5
    assert found["probe"]["seconds"] < 4
    assert "20 sample(s), " in found["kinds"][0]["probed"]


def test_steps_and_what_they_draw_are_forecast_from_some_of_them(measured):
    options = {"stepping": {"each": 0.05, "after": 0.2, "steps": 40}}
    total, found = measured(["stepping"], set=options, classes=["red"], seeds=[0, 1, 2])
    assert 3 * 2.2 / 1.5 < total.likely.seconds < 3 * 2.2 * 1.5
    assert total.likely.drawn == 3 * 80
    assert found["kinds"][0]["probed"] == f"60 sample(s), {STEPS} of 40 steps"


def test_a_method_that_fails_is_named_and_costs_nothing(measured):
    total, found = measured(["failing"], classes=["red"])
    (note,) = found["kinds"][0]["notes"]
    assert note.startswith("failed: RuntimeError: it never works, at growing_plugin.py:")
    assert total.likely.seconds < 2


def test_a_second_class_is_drawn_once_more(measured, monkeypatch):
    drawn = []
    original = Workbench.explained
    monkeypatch.setattr(Workbench, "explained", lambda self, cell: drawn.append(cell.cls) or original(self, cell))
    measured(["toy"], classes=["red", "blue"])
    assert "blue" in drawn


@pytest.mark.parametrize("held", [{"data_seed": 0}, {}])
def test_a_pool_that_is_drawn_in_part_counts_as_a_whole_and_once_for_all_seeds(measured, monkeypatch, held):
    from xcore.contract import Samples

    def draw(generator, phrases, start_seed, n, rows):
        generator.generate(["grey"] * len(rows), rows)
        time.sleep(0.02 * len(rows))
        return Samples("image", torch.rand(len(rows), 3, 16, 16), tuple(map(str, rows)))

    monkeypatch.setattr("xcore.run.kept_pools.generate_pool", draw)
    monkeypatch.setattr(probe, "LONG", 0.1)
    total, found = measured(["pooling"], classes=["red", "blue"], seeds=[0, 1], **held)
    assert total.likely.drawn == 120
    assert found["probe"]["drawn"] == 24
    assert 120 * 0.02 <= total.likely.seconds < 1.5 * 120 * 0.02 + 1


# -- the command -------------------------------------------------------------------------------------------------------
@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """The current folder and the temporary one."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["xcore", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0


def test_a_dry_run_leaves_nothing_and_a_finished_cell_is_not_counted_again(monkeypatch, nowhere, capsys):
    words = ["bench", "--methods", "toy", *ABOUT, "--class", "red", "--metrics", "brightness"]
    answers, probed = [], dry_run._in_another_process
    monkeypatch.setattr(dry_run, "_in_another_process", lambda *asked: answers.append(probed(*asked)) or answers[0])
    assert run(monkeypatch, *words, "--seeds", "2", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "2 cells: 1 method x 1 class x 2 seeds" in printed
    assert "time    about" in printed
    assert not [path for path in nowhere.rglob("*") if path.name not in ("here", "temporary")]
    assert run(monkeypatch, *words) == 0
    before = {path: path.stat().st_mtime_ns for path in (nowhere / "here").rglob("*")}
    capsys.readouterr()
    monkeypatch.setattr(dry_run, "_in_another_process", lambda *asked: answers[0])  # what a cell takes is known by now
    assert run(monkeypatch, *words, "--seeds", "3", "--dry-run", "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert about["cells"] == {"all": 3, "finished": 1, "to_run": 2}
    low, likely, high = about["seconds"]
    assert 0 < low <= likely <= high
    assert about["peak_mb"] > 100
    assert run(monkeypatch, *words, "--dry-run") == 0
    assert "Nothing is left to compute" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (nowhere / "here").rglob("*")} == before


def test_a_network_that_is_missing_is_named_with_the_line_that_fetches_it(monkeypatch, nowhere, capsys):
    words = ["explain", "toy", *ABOUT[:-1], "far-net:someone/net", "--class", "red", "--dry-run"]
    assert run(monkeypatch, *words) == 1
    printed = capsys.readouterr().out
    assert "missing  classifier  far-net:someone/net" in printed
    assert "`hf download someone/net`" in printed
    assert "nothing was measured" in printed


def test_a_probe_that_is_killed_is_told_with_what_to_do(monkeypatch, nowhere, capsys):
    words = ["explain", "killed", *ABOUT, "--class", "red", "--dry-run"]
    assert run(monkeypatch, *words) == 1
    assert "the probe was killed, as a system does" in capsys.readouterr().err
    assert not [path for path in nowhere.rglob("*") if path.name not in ("here", "temporary")]


def test_a_probe_ends_and_cleans_up_when_nobody_waits_for_it(tmp_path):
    folder = tmp_path / "probe"
    (folder / "run").mkdir(parents=True)
    code = "import pathlib, sys, time; from xcore.cli import dry_run; "
    code += "dry_run._end_with_parent(pathlib.Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], **streams) as process:
        assert process.stdout.read(5) == b"ready"
        assert folder.exists()
        process.stdin.close()  # as it is when the other process was killed
        assert process.wait(20) == 1
    assert not folder.exists()


def test_a_folder_that_a_run_refuses_is_refused_by_its_forecast(monkeypatch, nowhere, capsys):
    (nowhere / "here" / "red").mkdir()
    (nowhere / "here" / "red" / "concepts.png").touch()
    words = ["explain", "toy", *ABOUT, "--class", "red", "--out", "red"]
    assert run(monkeypatch, *words) == run(monkeypatch, *words, "--dry-run") == 2
    assert capsys.readouterr().err.count("was not written by xcore") == 2
