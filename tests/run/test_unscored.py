"""What the outcome of a cell says of metrics that failed on its explanation."""

from __future__ import annotations

from pathlib import Path

from xcore.api import request
from xcore.registry import load_registry
from xcore.run.engines import InProcess
from xcore.run.loop import Bench
from xcore.run.plan import make_plan
from xcore.run.progress import Reporter
from xcore.store.run_directory import Store

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"


class Noting(InProcess):
    """The engine of this process, which keeps what it yields."""

    def __init__(self):
        super().__init__()
        self.outcomes = []

    def run(self, cells, work):
        for outcome in super().run(cells, work):
            self.outcomes.append(outcome)
            yield outcome


def test_an_outcome_names_the_metrics_that_failed(tmp_path, monkeypatch):
    registry = load_registry([TOY])
    keys = {"data": "toy", "classes": ["red"], "metrics": ["brightness"], "threads": 1, "seeds": [0]}
    bench = Bench(make_plan(request(["toy"], "", keys, registry), registry), registry, Store(tmp_path), Reporter())
    monkeypatch.setenv("TOY_METRIC_FAILS", "1")
    engine = Noting()
    bench.run(engine)
    (outcome,) = engine.outcomes
    assert outcome.status == "ok"
    assert "the metric is unwell" in outcome.unscored[0]
