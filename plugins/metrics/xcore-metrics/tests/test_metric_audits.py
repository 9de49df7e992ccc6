"""The audit of the metrics of this distribution on the planted network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from xcore_metrics.asking.surrogate import surrogate_faithfulness
from xcore_metrics.faithfulness.removal import deletion, insertion, mu_fidelity
from xcore_metrics.options import RemovalOptions, SurrogateFaithfulnessOptions

from xcore.contract import Metric, Run
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
