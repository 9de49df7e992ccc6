"""A cell that harms what others use is one failed row with its reason; the figures of others are as without it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from xcore.api import bench

PLUGINS = Path(__file__).parents[1] / "plugins"
with pytest.MonkeyPatch.context() as paths:
    paths.syspath_prepend(PLUGINS)
    from faulty_plugin import ERRORS, METRICS
    from harmful_plugin import METRICS_TOLD, TOLD


@pytest.fixture(scope="module", autouse=True)
def importable() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGINS)  # harmful_plugin.py builds on toy_plugin.py
        yield


def run(out: Path, methods: list[str], metrics: tuple[str, ...] = ("agreement",), **keys: Any) -> Any:
    plugins = [PLUGINS / name for name in ("toy_plugin.py", "harmful_plugin.py", "faulty_plugin.py")]
    return bench(methods, out=out, plugins=plugins, data="shared", classes=["red"], metrics=list(metrics), **keys)


NOT_FIGURES = ("label", "method", "seconds", "cached", "picture", "pictures", "folder", "cost", "forwards", "record")


def figures(made: Any, label: str) -> list[Any]:
    """All that the rows of a method say but for its name and times."""
    rows = [r for r in made.rows if r["label"] == label]
    return [{k: v for k, v in r.items() if k not in NOT_FIGURES} for r in rows]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, importable: Any) -> Any:
    made = run(tmp_path_factory.mktemp("alone") / "run", ["before", "after"])
    assert made.result.count("ok") == 2
    return made


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, importable: Any) -> Any:
    """One run of all methods that do harm, each of them between two that do not."""
    between = [name for harm in TOLD for name in (harm, f"after_{harm}")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs behind
    try:
        return run(tmp_path_factory.mktemp("together") / "run", ["before", *between])
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("harm", TOLD)
def test_a_method_that_does_harm_is_one_failed_row_and_its_neighbours_never_see_it(
    harm: str, alone: Any, together: Any
) -> None:
    (row,) = (r for r in together.rows if r["label"] == harm)
    assert (row["status"], row["concept"]) == ("failed", None)
    assert re.search(TOLD[harm], row["reason"]), row["reason"]
    assert figures(together, f"after_{harm}") == figures(together, "before") == figures(alone, "before")
    assert not together.result.score_failures


@pytest.mark.parametrize("harm", METRICS_TOLD)
def test_a_metric_that_does_harm_gives_no_score_and_changes_nobody_elses(harm: str, alone: Any, tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["before", "after"], (harm, "agreement"))
    assert len(made.result.score_failures) == 2, "of both explanations"
    for line in made.result.score_failures:
        assert re.search(METRICS_TOLD[harm], line), line
    for label in ("before", "after"):
        for row, wanted in zip(figures(made, label), figures(alone, label), strict=True):
            assert row["scores"]["agreement"] == wanted["scores"]["agreement"]


def test_a_method_that_puts_everything_back_is_no_harm(alone: Any, tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["before", "restores", "after"])
    assert made.result.count("ok") == 3
    for label in ("before", "after"):
        assert figures(made, label) == figures(alone, label)


def test_a_changed_network_that_its_plugin_gives_again_is_refused_and_never_scored(tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["before", "weights", "after"], classifiers=["one-net"])
    status = {o.cell.label: (o.status, o.reason) for o in made.result.outcomes}
    assert status["before"][0] == "ok"
    assert "changed the weights of the classifier one-net" in status["weights"][1]
    again = "the classifier one-net was changed by another cell, and its plugin gives the changed network again"
    assert again in status["after"][1]


def test_what_a_cell_made_for_others_before_it_did_harm_is_made_again(tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["poisons", "reads"])
    status = {o.cell.label: (o.status, o.reason) for o in made.result.outcomes}
    assert "changed the weights" in status["poisons"][1]
    assert status["reads"] == ("ok", "")
    (row,) = (r for r in made.rows if r["label"] == "reads" and r["rank"] == 1)
    assert row["importance"] == 7.0, "what `poisons` made holds 5"


def test_the_pictures_of_others_and_what_is_remembered_of_them_stay_as_they_are() -> None:
    import torch

    from xcore.contract import Samples

    samples = Samples("image", torch.ones(2, 3, 4, 4), ("a", "b"))
    first = samples.digest
    assert samples.digest == first
    samples.images.numpy()[:] = 0.5
    assert samples.digest == Samples("image", torch.full((2, 3, 4, 4), 0.5), ("a", "b")).digest != first


# -- methods and metrics that fail -------------------------------------------------------------------------------------
FAILS = {change.__name__: said for change, said in ERRORS.items()}
METRIC_FAILS = {change.__name__: said for change, said in METRICS.items()}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, importable: Any) -> Any:
    """One run of all methods and metrics that fail, between two methods and before a metric that do not."""
    folder = tmp_path_factory.mktemp("failed") / "run"
    return run(folder, ["before", *FAILS, "after"], (*METRIC_FAILS, "agreement"))


@pytest.mark.parametrize("fails", FAILS)
def test_a_method_that_fails_in_any_manner_is_one_row_with_its_reason(fails: str, failed: Any) -> None:
    (row,) = (r for r in failed.rows if r["label"] == fails)
    assert (row["status"], row["concept"]) == ("failed", None)
    assert re.search(FAILS[fails], row["reason"]), row["reason"]


@pytest.mark.parametrize("fails", METRIC_FAILS)
def test_a_metric_that_fails_in_any_manner_is_told_and_gives_no_score(fails: str, failed: Any) -> None:
    lines = [line for line in failed.result.score_failures if line.startswith(f"{fails} on ")]
    assert len(lines) == 2, "of both explanations"
    assert re.search(METRIC_FAILS[fails].replace("before red", "(before|after) red"), lines[0]), lines[0]
    assert not any(fails in row["scores"] and row["scores"][fails]["value"] is not None for row in failed.rows)


def test_what_fails_changes_no_figure_of_others(alone: Any, failed: Any) -> None:
    for label in ("before", "after"):
        for row, wanted in zip(figures(failed, label), figures(alone, label), strict=True):
            assert row["scores"]["agreement"] == wanted["scores"]["agreement"]
            assert {k: v for k, v in row.items() if k != "scores"} == {k: v for k, v in wanted.items() if k != "scores"}


DELETES = """
import os, shutil
from pathlib import Path
from toy_plugin import Crops
from xcore import hookimpl

class Deletes(Crops):
    def explain(self, task):
        for folder in Path(os.environ["TOY_RUN"]).glob("explanations/before.*"):
            shutil.rmtree(folder)
        return super().explain(task)

@hookimpl
def register_explainers(register):
    register("deletes", Deletes, summary="deletes what others made")
"""


def test_a_record_that_another_cell_deletes_is_a_failed_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_RUN", str(tmp_path / "run"))
    (tmp_path / "deletes_plugin.py").write_text(DELETES)
    plugins = [*(PLUGINS / name for name in ("toy_plugin.py", "harmful_plugin.py")), tmp_path / "deletes_plugin.py"]
    asked: dict[str, Any] = {"plugins": plugins, "data": "shared", "classes": ["red"], "metrics": []}
    made = bench(["before", "deletes", "after"], out=tmp_path / "run", **asked)
    status = {o.cell.label: (o.status, o.reason) for o in made.result.outcomes}
    assert status["before"][0] == "failed"
    assert "something has deleted it since" in status["before"][1]
    assert (status["deletes"][0], status["after"][0]) == ("ok", "ok")


WORK = """
import ctypes, os
from dataclasses import dataclass
from pathlib import Path
from xcore.contract import Cell, Limits, Ref
from xcore.run.engine_options import ProcessesOptions
from xcore.run.processes import Processes

@dataclass(frozen=True)
class Work:
    limits: Limits = Limits()
    threads: int = 1

    def __call__(self, cell):
        Path("pid").write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(600)  # with the lock of Python

def main():
    cells = [Cell("held", Ref("held"), Ref("net"), Ref("data"), "red", 0)]
    list(Processes(ProcessesOptions(workers=1)).run(cells, Work()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_worker_that_holds_the_lock_of_python_ends_with_the_killed_command(tmp_path: Path) -> None:
    (tmp_path / "held_work.py").write_text(WORK)
    call = [sys.executable, "-c", "import held_work; held_work.main()"]
    command = subprocess.Popen(call, cwd=tmp_path)
    until = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.2)
    command.kill()
    command.wait()
    worker = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    while worker.exists() and worker.read_text().split()[2] != "Z":  # nobody may be there to bury it
        assert time.monotonic() < until, "the worker runs on"
        time.sleep(0.05)
