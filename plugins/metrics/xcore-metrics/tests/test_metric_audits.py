"""The audit of the metrics of this distribution on the planted network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from xcore_metrics.asking.surrogate import surrogate_faithfulness
from xcore_metrics.faithfulness.removal import deletion, insertion, mu_fidelity
from xcore_metrics.options import RemovalOptions, SurrogateFaithfulnessOptions

from xcore.contract import Metric, Run
from xcore.registry import load_registry
from xcore.report.audits import KINDS, audits_of, made_by
from xcore.testing import planted_network, tiny_task
from xcore.testing.audit import AuditCase, Observed, observe
from xcore.testing.planted import planted_run, planted_task


@pytest.fixture
def observed(tmp_path: Path):
    """(metric, kind) -> what it says of the perfect explanation of the planted network, and of worse ones."""
    run: Run = planted_run(planted_task(tiny_task(tmp_path), tmp_path, planted_network()), perfect=True)
    # without importances for single pictures, which stay where they are when those for the class are shuffled
    concepts = tuple(replace(c, local=None) for c in run.explanation.concepts)
    run = replace(run, explanation=replace(run.explanation, concepts=concepts))

    def of(metric: Metric, kind: str) -> Observed:
        return observe({"": metric}, kind, AuditCase("planted", kind, run).runs())[""]

    return of


@pytest.mark.parametrize("kind", ["directions", "maps"])
@pytest.mark.parametrize("made", [deletion, insertion, mu_fidelity])
def test_removal_tells_the_right_order_from_a_shuffled_one(made, kind, observed) -> None:
    metric = made(RemovalOptions(fills=("blur",)))
    values = observed(metric, kind).values
    sign = 1 if metric.direction == "higher" else -1
    assert sign * values["own"] > sign * values["shuffled importances"]


def test_surrogate_faithfulness_does_not_see_importances(observed) -> None:
    values = observed(surrogate_faithfulness(SurrogateFaithfulnessOptions(random=2)), "directions").values
    assert values["own"] == values["shuffled importances"]
    assert values["own"] > values["random concepts"]


def test_every_metric_is_audited_for_each_kind_that_it_can_judge() -> None:
    cards = [c for c in load_registry().cards("metric") if c.distribution in ("xcore-metrics", "xcore-tcav")]
    found = {c.name: audits_of(c) for c in cards}
    assert {name for name, of_kind in found.items() if not of_kind} == {"cost", "localisation", "pointing"}
    for name, of_kind in found.items():
        assert set(of_kind) <= set(KINDS)
        assert not of_kind or any(audit.applies for audit in of_kind.values()), f"{name} applies to no kind"
    assert all(made_by(c).startswith("python benchmarks/audit.py") for c in cards if found[c.name])
