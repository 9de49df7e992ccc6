"""Cells on Ray: the table of one process, failed rows for cells that end their process, and machines that are lost."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from xcore.api import bench
from xcore.contract import Cell, Outcome, Ref
from xcore.registry import load_registry

ray = pytest.importorskip("ray")

from xcore_ray.engine import RayEngine, _Running, why  # noqa: E402
from xcore_ray.options import RayOptions  # noqa: E402

TOY = Path(__file__).parents[4] / "tests" / "plugins" / "toy_plugin.py"
COMMON = {"plugins": [TOY], "data": "toy", "classes": ["red"], "metrics": ["brightness", "spread"], "threads": 1}


def without_times(rows):
    return [{k: v for k, v in r.items() if k not in ("seconds", "cached")} for r in rows]


def test_the_table_is_that_of_one_process(tmp_path):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    methods, on_ray = ["toy", "crash"], {"engine": "ray", "set": {"ray": {"cluster_cpus": 2}}}
    two = bench(methods, out=tmp_path / "b", seeds=[0, 1], **on_ray, **COMMON)
    one = bench(methods, out=tmp_path / "a", seeds=[0, 1], **COMMON)
    assert [o.status for o in two.result.outcomes] == ["ok", "ok", "ok", "failed"]
    assert without_times(one.rows) == without_times(two.rows)
    for name in (p.relative_to(tmp_path / "a") for p in (tmp_path / "a" / "explanations").rglob("*.safetensors")):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert not ray.is_initialized()


def test_it_is_registered_and_its_options_are_checked():
    card, _ = load_registry([]).find("engine", "ray")
    assert card.options == "xcore_ray.options:RayOptions"
    assert RayEngine(RayOptions()).enforces == {"seconds", "memory_mb"}


class Lost:
    """A Ray of which each cell loses its machine, or its process, so many times."""

    exceptions = ray.exceptions

    def __init__(self, error, times):
        self.error, self.times, self.asked = error, times, []

    def put(self, value):
        return value

    def remote(self, **counted):
        self.counted = counted
        return lambda function: SimpleNamespace(remote=lambda work, cell: self._begin(cell))

    def _begin(self, cell):
        self.asked.append(cell)
        return len(self.asked)  # what stands for a task

    def wait(self, tasks, num_returns, timeout):
        return tasks[:1], tasks[1:]

    def get(self, task):
        if task <= self.times:
            raise self.error
        return Outcome(self.asked[task - 1], "ok", "")


@pytest.mark.parametrize(
    ("error", "times", "status", "runs"),
    [
        (ray.exceptions.NodeDiedError("gone"), 2, "ok", 3),
        (ray.exceptions.NodeDiedError("gone"), 9, "failed", 4),  # of a cell that loses every machine
        (ray.exceptions.WorkerCrashedError(), 1, "failed", 1),
    ],
)
def test_only_a_cell_whose_machine_is_lost_is_run_again(error, times, status, runs):
    fake = Lost(error, times)
    cell = Cell("toy", Ref("toy"), Ref("net"), Ref("data"), "red", 0)
    work = SimpleNamespace(threads=2, lost=lambda cell, reason, seconds: Outcome(cell, "failed", "", reason))
    work.ending_itself = lambda: work
    (outcome,) = _Running(fake, RayOptions(node_losses=3, memory_mb=100), work).outcomes([cell])
    assert (outcome.status, len(fake.asked)) == (status, runs)
    assert fake.counted == {"max_retries": 0, "num_cpus": 2, "num_gpus": 0, "memory": 100 * 2**20}


def test_what_ray_says_is_one_line():
    assert "\n" not in why(ray.exceptions.WorkerCrashedError())
    assert why(ray.exceptions.NodeDiedError("gone\nand more")).startswith("NodeDiedError: ")
