"""The conformance tests of xcore, students whose success is known, and a run on the painted world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_example_simulatability.metric import Simulatability
from xcore_example_simulatability.options import SimulatabilityOptions
from xcore_example_simulatability.student import exam, halves

import xcore
from xcore.contract import Metric, Run
from xcore.testing import MetricTests, OptionsTests


class TestSimulatability(MetricTests):
    @pytest.fixture
    def metric(self) -> Metric:
        return Simulatability(SimulatabilityOptions())

    def test_it_is_not_measured_where_all_decisions_are_the_same(self, metric: Metric, run: Run) -> None:
        (score,) = metric.score([replace(run, heldout_random_set=lambda n, index, render="as-is": run.heldout)])
        assert score.value is None
        assert "are needed" in str(score.reason)


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[Any]:
        return SimulatabilityOptions


def test_a_student_learns_what_its_features_tell_and_no_more() -> None:
    draw = torch.Generator().manual_seed(0)
    decisions = torch.arange(200) % 4 == 0
    noise = torch.randn(200, 3, generator=draw, dtype=torch.float64)
    telling = torch.cat([noise, decisions[:, None] + 0.1 * noise[:, :1]], dim=1)
    lessons = halves(decisions, 10, seed=0)
    assert all(int(lesson.sum()) == 100 and int(decisions[lesson].sum()) == 25 for lesson in lessons)
    blind = sum(exam(noise, decisions, lesson, 1.0) for lesson in lessons) / 10
    assert blind == pytest.approx(0.5, abs=0.08)
    assert all(exam(telling, decisions, lesson, 1.0) == 1.0 for lesson in lessons)


def test_a_bench_has_its_column(tmp_path: Path) -> None:
    run = xcore.bench(
        ["craft"],
        data="minizoo",
        classes=["zebra"],
        metrics=["simulatability"],
        controls=[],
        set={"craft": {"k": 4, "designs": 8}},
        budget={"samples": 8, "heldout": 12},
        out=tmp_path / "run",
    )
    assert not run.broken
    score = run.rows[0]["overall"]["simulatability"]
    gain = score["details"]["accuracy_with"] - score["details"]["accuracy_without"]
    assert score["value"] == pytest.approx(gain)
