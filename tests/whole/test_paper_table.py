"""The paper's table: what it costs, what is missing, and the published rows beside ours, without running it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from xcore.api import request
from xcore.contract import MissingError, Ref
from xcore.registry import load_registry
from xcore.run import needs
from xcore.run.plan import Suite, make_plan

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """A module of benchmarks/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def paper() -> ModuleType:
    return script("paper")


@pytest.fixture
def suite(paper: ModuleType) -> Suite:
    return request((), paper.SUITE, {})


def test_the_suite_is_the_published_setting(suite: Suite) -> None:
    rlpo = load_registry().options("explainer", make_ref("rlpo", suite))
    assert (rlpo.steps, rlpo.n, rlpo.eta, rlpo.negatives) == (500, 10, 0.5, 1)
    assert (rlpo.reward, rlpo.update_rule, rlpo.tie) == ("parity", "best_so_far", "g2")
    assert suite.layer == "inception4e"
    assert suite.metrics[:5] == ["TS", "CS", "ED", "RCS", "RED"]


def make_ref(name: str, suite: Suite) -> Ref:
    return Ref(name, suite.set.get(name, {}))


def test_the_cost_counts_what_is_drawn(paper: ModuleType, suite: Suite) -> None:
    lines = "\n".join(paper.cost(suite, load_registry()))
    # 20 in each of 500 steps; 50 to rank and 10 to show each of 20 concepts; 3 in each of 52 snapshots
    assert "at most 11,356 pictures are drawn, each in 25 steps" in lines
    assert "at most 1,000 steps of DPO on 10 pairs, and 3,780 questions" in lines
    assert "at most 150,000 pictures are classified" in lines
    assert "all this 2 times" in lines


def test_what_is_missing_is_listed_and_nothing_is_run(
    paper: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper, "bench", lambda **keys: pytest.fail("run"))
    monkeypatch.setattr(needs, "Identity", Nothing)
    assert paper.main(["--data", f"folder:{tmp_path}", "--out", str(tmp_path / "run")]) == 3
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert f"missing data folder:{tmp_path}" in lines
    assert "missing image-text clip:openai/clip-vit-base-patch32" in lines
    assert lines.count("not here") == 7
    assert "7 of these are missing; nothing was run" in printed
    assert not (tmp_path / "run").exists()


class Nothing:
    """Finds neither data nor models."""

    def __init__(self, registry: object) -> None:
        pass

    def component(self, kind: str, ref: object) -> str:
        if kind in ("explainer", "metric"):
            return "here"
        raise MissingError("not here")


def test_rows_stand_beside_the_published_ones(paper: ModuleType) -> None:
    def score(value: float | None, spread: float = 0.1, **details: Any) -> dict[str, Any]:
        return {"value": value, "spread": spread, "details": details}

    def row(seed: int, cs: float, mark: int) -> dict[str, Any]:
        scores = {"CS": score(cs), "ED": score(None), "TS": score(1.0, mark=mark)}
        about = {"class": "zebra", "label": "rlpo", "rank": 1, "status": "ok", "seed": seed, "reason": ""}
        return {**about, "concept": "stripes", "scores": scores}

    failed = {
        **row(0, 0, 0),
        "label": "eac",
        "rank": None,
        "status": "failed",
        "reason": "no mask",
        "concept": None,
    }
    lines = paper.tables(SimpleNamespace(rows=[row(0, 0.5, 1), row(1, 0.7, -1), failed]), ["zebra"])
    (line,) = (line for line in lines if line.startswith("| rlpo C1"))
    assert line.startswith(
        "| rlpo C1 (stripes) | 1.00 ± 0.10 | 1 of 2 | 0.52 ± 0.04 | 0.60 ± 0.10 | 10.48 ± 0.50 | n/a | 0.04 ± 0.01 |"
    )
    assert any(line.startswith("| eac C1 (none) | n/a | n/a | 0.76 ± 0.03 | n/a") for line in lines)
    assert lines[-1] == "eac zebra: no mask"
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1


def test_the_stand_ins_have_the_classes_by_other_names(
    tmp_path: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins = script("paper_stand_ins")
    monkeypatch.setattr(stand_ins, "PICTURES", 4)
    stand_ins.photographs(tmp_path / "photographs")
    stand_ins.googlenet(tmp_path / "googlenet.safetensors", tmp_path / "photographs")
    keys = {
        "data": f"folder:{tmp_path / 'photographs'}",
        "classifiers": [f"file:{tmp_path / 'googlenet.safetensors'}"],
        "methods": ["craft"],
        "controls": [],
    }
    plan = make_plan(Suite(**{**suite.model_dump(), **keys}), load_registry())
    assert [cell.cls for cell in plan.cells] == ["tiger", "n02391049"]
