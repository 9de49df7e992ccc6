"""Cells as jobs of this machine: the table of one process, failed rows for cells that end their process, limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xcore.api import bench
from xcore.contract import MissingError, UsageError
from xcore.registry import load_registry

pytest.importorskip("submitit")

from xcore_submitit import engine as module
from xcore_submitit.engine import JOBS, KNOWN, SubmititEngine, cancel_left
from xcore_submitit.options import SubmititOptions

TOY = Path(__file__).parents[4] / "tests" / "plugins" / "toy_plugin.py"
COMMON = {"plugins": [TOY], "data": "toy", "classes": ["red"], "metrics": ["brightness", "spread"], "threads": 1}
LOCAL = {"engine": "submitit", "set": {"submitit": {"cluster": "local", "poll": 0.1}}}

ENDLESS = """
from xcore import hookimpl

class Endless:
    def __init__(self, options): ...
    def explain(self, task):
        while True:
            pass

@hookimpl
def register_explainers(register):
    register("endless", Endless, summary="never ends")
"""


def without_times(rows):
    return [{k: v for k, v in r.items() if k not in ("seconds", "cached")} for r in rows]


def test_the_table_is_that_of_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "marker"))
    two = bench(["toy", "kill"], out=tmp_path / "b", seeds=[2], **LOCAL, **COMMON)
    assert [o.status for o in two.result.outcomes] == ["ok", "failed"]
    assert "ended before it was done" in two.result.outcomes[1].reason
    two = bench(["toy", "kill"], out=tmp_path / "b", seeds=[2], **LOCAL, **COMMON)
    assert [o.cached for o in two.result.outcomes] == [True, False]
    one = bench(["toy", "kill"], out=tmp_path / "a", seeds=[2], **COMMON)
    assert without_times(one.rows) == without_times(two.rows)
    for name in (p.relative_to(tmp_path / "a") for p in (tmp_path / "a" / "explanations").rglob("*.safetensors")):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not list((tmp_path / "b" / JOBS).glob("*.pkl"))


def test_a_job_ends_itself_when_its_cell_takes_too_long(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    keys = {**COMMON, "plugins": [TOY, tmp_path / "endless.py"], "cell_timeout": 2.0}
    made = bench(["endless"], out=tmp_path / "run", **LOCAL, **keys)
    assert [o.reason for o in made.result.outcomes] == ["it took longer than 2 s (--cell-timeout)"]
    assert made.rows[0]["reason"] == made.result.outcomes[0].reason


class Threads:
    threads = 4


def test_what_this_machine_cannot_do_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 8)
    with pytest.raises(UsageError, match=r"3 jobs with 4 thread.* need 12 cores, and there are 8 .*at_once=2"):
        SubmititEngine(SubmititOptions(cluster="local", at_once=3)).check(Threads())
    SubmititEngine(SubmititOptions(cluster="local", at_once=2)).check(Threads())
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert SubmititEngine(SubmititOptions()).cluster == "local"
    with pytest.raises(MissingError, match="has no sbatch"):
        SubmititEngine(SubmititOptions(cluster="slurm")).check(Threads())


def test_jobs_of_slurm_that_a_killed_start_left_are_ended(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(module.shutil, "which", lambda name: name)
    monkeypatch.setattr(module.subprocess, "run", lambda call, **keys: ended.append(call))
    (tmp_path / KNOWN).write_text(json.dumps(["7_0", "7_1"]))
    cancel_left(tmp_path)
    assert ended == [["scancel", "7_0", "7_1"]]
    assert not (tmp_path / KNOWN).exists()
    for damaged in ("", "{", "3"):
        (tmp_path / KNOWN).write_text(damaged)
        cancel_left(tmp_path)
    assert len(ended) == 1


def test_it_is_registered_and_its_options_are_checked():
    card, _ = load_registry([]).find("engine", "submitit")
    assert card.options == "xcore_submitit.options:SubmititOptions"
