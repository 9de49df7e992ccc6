"""`xcore check`: what it checks, how it tells, and that it needs no pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xcore.cli.main import main
from xcore.testing.checking import check_target

PLUGIN = """
from xcore import hookimpl


@hookimpl
def register_explainers(register):
    register("steady", Steady, summary="channels by the drop of the logit", needs=("activations",))
    register("hashed", Hashed, summary="the same, ordered by a set", needs=("activations",))
    register("broken", Broken, summary="seeds torch", needs=("activations",))


@hookimpl
def register_metrics(register):
    register("size", Size, summary="length of the directions")


@hookimpl
def register_generators(register):
    register("remote", lambda options, argument: None, summary="from a file", argument="FILE")


@hookimpl
def register_commands(register):
    register("hello", "check_me:no_app", summary="a command that is not there")


class Steady:
    def __init__(self, options):
        pass

    def explain(self, task):
        from xcore.contract import Concept, Explanation

        probe = task.classifier.open(task.layer)
        a = probe.activations(task.samples)
        whole = probe.head(a, task.samples)
        concepts = []
        for channel in range(a.shape[1]):
            without = a.clone()
            without[:, channel] = 0
            lost = (whole - probe.head(without, task.samples))[:, task.target]
            best = lost.argsort(descending=True)[:3]
            maps = a[:, channel].clamp_min(0).repeat_interleave(task.samples.images.shape[-1] // a.shape[-1], 1)
            maps = maps.repeat_interleave(task.samples.images.shape[-1] // a.shape[-1], 2)
            concepts.append(
                Concept(f"channel {channel}", float(lost.mean()), task.samples.take(best.tolist()), maps=maps)
            )
        concepts.sort(key=lambda c: -c.importance)
        return Explanation("steady", task.target_name, "drop of the logit", tuple(concepts))


class Hashed(Steady):
    def explain(self, task):
        from dataclasses import replace

        made = super().explain(task)
        return replace(made, notes=tuple({f"note {i}" for i in range(20)}))


class Broken(Steady):
    def explain(self, task):
        import torch

        torch.manual_seed(0)
        return super().explain(task)


class Size:
    direction = "none"
    needs = frozenset()

    def __init__(self, options):
        pass

    def score(self, runs):
        from xcore.contract import Score

        return [Score("size", i, float(len(c.directions))) for i, c in enumerate(runs[0].explanation.concepts)]
"""
ORDER, RANDOM = "order_does_not_depend_on_the_hash_seed", "random_state_is_left_as_found"


def xcore(*words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["xcore", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0), capsys.readouterr().out


def test_a_plugin_file(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    file = tmp_path / "check_me.py"
    file.write_text(PLUGIN)
    code, out = xcore("check", str(file), "--json", monkeypatch=monkeypatch, capsys=capsys)
    *lines, last = [json.loads(line) for line in out.splitlines()]
    found = {(line["component"].rpartition("/")[2], line["check"]): line for line in lines}
    assert code == 1
    failures = {key for key, line in found.items() if line["status"] == "failed"}
    assert failures == {("hashed", ORDER), ("broken", RANDOM), ("hello", "it_can_be_made")}, failures
    assert found["steady", ORDER]["status"] == found["size", ORDER]["status"] == "passed"
    assert found["broken", RANDOM]["reason"] == "it moved the global random state of torch"
    assert found["broken", RANDOM]["mend"].startswith("Draw from local generators")
    assert found["remote", "it_can_be_made"]["reason"] == "it needs an argument: xcore check remote:FILE"
    assert last["failed"] == 3
    monkeypatch.setattr("xcore.testing.checking._in_two_processes", lambda targets, files: {})  # that was seen above
    code, out = xcore("check", str(file), "--kind", "metric", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    assert out.startswith("metric check_me/size\n  passed   it_can_be_made\n")
    assert "\n           because  neither higher nor lower values are better\n" in out


def test_a_file_that_does_not_load(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    file = tmp_path / "no_module.py"
    file.write_text("import not_there_at_all\n")
    code, out = xcore("check", str(file), monkeypatch=monkeypatch, capsys=capsys)
    assert code == 1
    assert "FAILED   it_loads" in out
    assert "not_there_at_all" in out


def test_the_folder_of_a_distribution(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "xcore-not-installed"\n')
    monkeypatch.setattr("sys.argv", ["xcore", "check", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert f"pip install -e {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("register", "told"),
    [('"local", "a:B", summary="", need=()', "unknown field 'need'"), ("1 / 0", "ZeroDivisionError")],
)
def test_what_a_distribution_offers_and_is_left_out(register: str, told: str, tmp_path: Path) -> None:
    """A card that is wrong fails the check, although the others of the plugin are sound."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "half-right"\n')
    hook = "from xcore import hookimpl\n@hookimpl\ndef register_engines(register):\n"
    good = '    register("fine", "xcore.run.engines:InProcess", summary="in this process")\n'
    (tmp_path / "half_right.py").write_text(f"{hook}{good}    register({register})\n")
    about = tmp_path / "half_right-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: half-right\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[xcore]\nhalf = half_right\n")
    (about / "RECORD").write_text("half_right.py,,\n")
    paths = {"PYTHONPATH": str(tmp_path), "XCORE_CACHE": str(tmp_path / "cache"), "XCORE_PLUGINS": "half"}
    call = [sys.executable, "-m", "xcore", "check", str(tmp_path), "--json"]
    done = subprocess.run(call, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    first, *others, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, first["check"], first["status"], last["failed"]) == (1, "it_loads", "failed", 1)
    assert told in first["reason"]
    assert bool(others) == (told != "ZeroDivisionError"), "the card that is right is checked all the same"


def test_an_unknown_component_names_the_nearest(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("sys.argv", ["xcore", "check", "locl"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "did you mean 'local'?" in capsys.readouterr().err


def test_it_needs_no_pytest() -> None:
    code = (
        "import sys\n"
        "sys.modules['pytest'] = None\n"
        "sys.argv = ['xcore', 'check', 'local']\n"
        "from xcore.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("engine xcore-xai/local\n  passed   it_can_be_made\n  passed   every_cell_has_one")


FADED = """
from dataclasses import replace

from xcore import hookimpl


@hookimpl
def register_renderings(register):
    register("faded", lambda options: faded, summary="darker")


def faded(samples, how, rng):
    return replace(samples, data=samples.images * float(how))
"""


def test_a_rendering_is_checked_in_the_way_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "fading.py").write_text(FADED)
    for how, status in (("0.5", "passed"), ("1.5", "failed")):
        found = list(check_target(f"faded:{how}", "rendering", [str(tmp_path / "fading.py")]))
        assert {r.component for r in found} == {f"rendering fading/faded:{how}"}
        assert {r.check: r.status for r in found}["it_gives_as_many_samples"] == status
