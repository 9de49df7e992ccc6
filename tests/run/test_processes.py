"""The engine `processes`: what a cell does to its process is one failed row, and the table is that of one process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from xcore.api import bench
from xcore.cards import Card
from xcore.contract import Cell, Limits, Ref, UsageError
from xcore.registry import load_registry
from xcore.run.engine_options import ProcessesOptions
from xcore.run.processes import Processes, _Queue, ending
from xcore.run.progress import Reporter
from xcore.store.identity import code_digest

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
COMMON = {"plugins": [TOY], "data": "toy", "metrics": ["brightness", "spread"], "threads": 1}

WORK = '''
import ctypes, os, time
from dataclasses import dataclass
from pathlib import Path
from xcore.contract import Limits, Outcome

@dataclass(frozen=True)
class Work:
    """Does what the label of a cell says; the engine's process keeps what was lost."""
    folder: str
    limits: Limits = Limits()
    threads: int = 1

    def __call__(self, cell):
        with (Path(self.folder) / "ran").open("a") as file:
            file.write(f"{cell.label} {cell.seed} {os.getpid()}\\n")
        if cell.label == "segfault":
            ctypes.string_at(0)
        if cell.label == "leave":
            os._exit(3)
        if cell.label == "loop":
            while True:
                pass
        if cell.label == "big":
            held = b"x" * (400 * 2**20)
            time.sleep(60)
        if cell.label == "slow":
            time.sleep(60)
            (Path(self.folder) / "slept").touch()
        return Outcome(cell, "ok", "")

    def lost(self, cell, reason, seconds=0.0):
        return Outcome(cell, "failed", "", reason, seconds)
'''


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A work that needs no torch, as worker processes find it."""
    (tmp_path / "work_of_a_test.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("work_of_a_test", None)
    import work_of_a_test

    yield lambda **keys: work_of_a_test.Work(str(tmp_path), **keys)
    del sys.modules["work_of_a_test"]


def cell(label, seed=0, cls="red", classifier="net"):
    return Cell(label, Ref(label), Ref(classifier), Ref("data"), cls, seed)


def processes(workers=2):
    return Processes(ProcessesOptions(workers=workers))


def ran(tmp_path):
    return [line.split() for line in (tmp_path / "ran").read_text().splitlines()]


def test_a_process_that_ends_is_one_failed_row_and_is_replaced(tmp_path, work):
    labels = ["fine", "segfault", "fine", "leave", "fine"]
    cells = [cell(label, seed) for seed, label in enumerate(labels)]
    found = {o.cell.seed: o for o in processes().run(cells, work())}
    assert [found[seed].status for seed in range(5)] == ["ok", "failed", "ok", "failed", "ok"]
    assert found[1].reason == "its process was ended by SIGSEGV"
    assert found[3].reason == "its process left with exit code 3"
    assert sorted(seed for _, seed, _ in ran(tmp_path)) == [*"01234"]  # each once


@pytest.mark.parametrize(
    ("label", "limits", "said"),
    [
        ("loop", Limits(seconds=1.0), "it took longer than 1 s (--cell-timeout)"),
        ("big", Limits(memory_mb=300), "more than 300 MB (--cell-memory)"),
    ],
)
def test_a_cell_that_breaks_a_limit_is_one_failed_row(work, label, limits, said):
    first, second = processes(1).run([cell(label), cell("fine", 1)], work(limits=limits))
    assert (first.status, second.status) == ("failed", "ok")
    assert said in first.reason


def test_closing_ends_the_cells_that_run(tmp_path, work):
    outcomes = processes().run([cell("fine"), cell("slow", 1), cell("slow", 2)], work())
    assert next(outcomes).status == "ok"
    outcomes.close()
    assert not (tmp_path / "slept").exists()
    for _, _, pid in ran(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_worker_gets_the_cells_of_its_class_and_classifier_first():
    queue = _Queue([cell("a", cls=cls, classifier=c) for _ in "ab" for c in "xy" for cls in ("red", "blue")])
    first = queue.take((), [()])
    second = queue.take((), [("x", "data", "red")])
    third = queue.take(("x", "data", "red"), [("x", "data", "blue")])
    other = queue.take(("x", "data", "red"), [("x", "data", "blue")])
    taken = [(c.classifier.text, c.cls) for c in (first, second, third, other)]
    assert taken == [("x", "red"), ("x", "blue"), ("x", "red"), ("y", "red")]
    assert len(queue) == 4


def test_cells_of_the_label_that_takes_longest_come_first_and_unknown_ones_before():
    queue = _Queue([cell(label, seed) for seed in (0, 1) for label in ("quick", "slow", "other")])
    took = {"quick": 1.0, "slow": 50.0}
    taken = [queue.take((), [], took) for _ in range(6)]
    assert [(c.label, c.seed) for c in taken] == [
        *(("other", 0), ("other", 1), ("slow", 0), ("slow", 1), ("quick", 0), ("quick", 1))
    ]


@pytest.mark.parametrize(("cores", "threads", "started"), [(8, 1, 2), (2, 1, 2), (2, 2, 1), (1, 1, 1)])
def test_as_many_workers_as_there_are_cores_for_where_no_number_is_asked_for(monkeypatch, cores, threads, started):
    monkeypatch.setattr("xcore.run.processes.usable_cores", lambda: cores)
    pools = []

    class Ended(Exception):
        pass

    def serve(pool, queue, work):
        pools.append(pool)
        raise Ended

    monkeypatch.setattr("xcore.run.processes._serve", serve)
    monkeypatch.setattr("xcore.run.processes._Worker", lambda work: Idle())
    with pytest.raises(Ended):
        list(Processes(ProcessesOptions()).run([cell("a"), cell("b"), cell("c")], Threads(threads)))
    assert len(pools[0]) == started


def test_a_plugin_that_was_added_as_an_object_runs_here_or_is_refused(tmp_path, monkeypatch):
    registry = load_registry()
    registry.add(plugin_of(TOY), "mine")
    asked = {"registry": registry, "data": "toy", "metrics": [], "classes": ["red"], "threads": 1}
    with pytest.raises(UsageError, match=r"cannot find the plugin 'mine': added as an object"):
        bench(["toy"], out=tmp_path / "asked", engine="processes", **asked)
    suite = tmp_path / "suite.toml"
    suite.write_text('engine = "processes"\nmethods = ["toy"]\n')
    told = []
    reporter = Reporter()
    monkeypatch.setattr(reporter, "warn", told.append)
    done = bench(suite=str(suite), out=tmp_path / "held", reporter=reporter, seeds=[0, 1], **asked)
    assert done.result.count("ok") == 2
    assert "cells run in this process" in told[0]


def test_a_single_cell_starts_no_other_process_for_a_suite(tmp_path, monkeypatch):
    suite = tmp_path / "suite.toml"
    suite.write_text('engine = "processes"\n')
    monkeypatch.setattr("xcore.run.processes.Processes.run", lambda *given: pytest.fail("other processes"))
    done = bench(["toy"], suite=str(suite), out=tmp_path / "run", classes=["red"], seeds=[0], **COMMON)
    assert done.result.count("ok") == 1


def test_the_code_of_a_plugin_in_the_script_itself_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"defined in the script or notebook that runs.*put it into a Python file"):
        code_digest(Card("explainer", "mine", "__main__:Mine", "", "mine", "1"))


def test_more_workers_than_cores_are_refused_with_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    with pytest.raises(UsageError, match=r"3 workers with 2 thread.* need 6 cores, and there are 4 .*--threads 1"):
        bench(["toy"], classes=["red"], out=tmp_path / "run", engine="processes", threads=2,
              set={"processes": {"workers": 3}}, **{k: v for k, v in COMMON.items() if k != "threads"})  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_how_a_process_ended_in_words():
    assert ending(-9) == "its process was ended by SIGKILL, as systems do when memory runs out"
    assert ending(1) == "its process left with exit code 1"


@dataclass
class Threads:
    """What of a work says how many workers there are."""

    threads: int


class Idle:
    """A worker that is never started."""

    def dismiss(self): ...

    def end(self, patience): ...


def plugin_of(path):
    spec = importlib.util.spec_from_file_location("toy_added_by_hand", path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[made.__name__] = made
    spec.loader.exec_module(made)
    return made


def without_times(rows):
    return [{k: v for k, v in r.items() if k not in ("seconds", "cached")} for r in rows]


def test_the_table_and_the_records_are_those_of_one_process_bit_for_bit(tmp_path):
    """A script without a guard of its main module may use it, too: it is not run again in the workers."""
    script = tmp_path / "script.py"
    keys = {**COMMON, "plugins": [str(TOY)], "classes": ["red"], "seeds": [0, 1]}
    script.write_text(
        f"import xcore\nprint('begun')\nxcore.bench(['toy', 'rude', 'crash'], out='b', engine='processes', **{keys})\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\n"
    one = bench(["toy", "rude", "crash"], out=tmp_path / "a", **keys)
    assert {o.status for o in one.result.outcomes} == {"ok", "failed"}
    for part in ("explanations", "scores"):
        names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a" / part).rglob("*") if p.is_file())
        assert names == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b" / part).rglob("*") if p.is_file())
        assert names
        for name in names:
            a, b = (tmp_path / run / name for run in "ab")
            if name.name != "record.json":  # which has times, memory and line numbers of tracebacks
                assert a.read_bytes() == b.read_bytes(), name
    again = bench(["toy", "rude", "crash"], out=tmp_path / "b", **keys)
    assert without_times(again.rows) == without_times(one.rows)
    assert again.result.cached == 5
    assert (tmp_path / "b" / "live" / "run.json").is_file()


def test_a_killed_worker_is_tried_again_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "marker"))
    made = bench(["kill"], out=tmp_path / "run", classes=["red"], seeds=[2], engine="processes", retries=1, **COMMON)
    assert [o.status for o in made.result.outcomes] == ["ok"]
    assert (tmp_path / "marker").exists()
    assert made.rows[0]["scores"]["brightness"]["value"] > 0.3
