"""A metric that draws gets the generator of the cell, whether the method draws or not."""

from __future__ import annotations

from pathlib import Path

from xcore.registry import load_registry
from xcore.run.engines import InProcess
from xcore.run.loop import Bench
from xcore.run.plan import Suite, make_plan
from xcore.run.progress import Reporter
from xcore.store.run_directory import Store

PLUGINS = Path(__file__).parents[1] / "plugins"
METRICS = """
from xcore import hookimpl
from xcore.contract import Score


class Drawing:
    direction, needs, name = "none", frozenset(), "drawing"

    def __init__(self, options):
        pass

    def score(self, runs):
        return [Score(self.name, value=float(run.task.generator is not None)) for run in runs]


class Looking(Drawing):
    name = "looking"


@hookimpl
def register_metrics(register):
    register("drawing", Drawing, summary="says whether there is a generator", uses=("generator?",))
    register("looking", Looking, summary="says the same, and asks for none")
"""


def test_a_metric_that_draws_has_the_generator(tmp_path: Path) -> None:
    plugin = tmp_path / "metric_plugin.py"
    plugin.write_text(METRICS)
    registry = load_registry([PLUGINS / "toy_plugin.py", PLUGINS / "growing_plugin.py", plugin])
    found = {}
    for generator in ("painter", ""):
        keys = {"data": "toy", "classifiers": ["toy-net"], "classes": ["red"], "methods": ["sampling"], "threads": 1}
        suite = Suite(**keys, metrics=["drawing", "looking"], generator=generator)
        store = Store(tmp_path / (generator or "none"))
        Bench(make_plan(suite, registry), registry, store, Reporter()).run(InProcess())
        for file in (store.root / "scores").glob("*.json"):
            (score,) = store.whole_scores(file.stem) or ()
            found[score.metric, generator] = score.value
    assert found == {
        ("drawing", "painter"): 1,
        ("drawing", ""): 0,
        ("looking", "painter"): 0,
        ("looking", ""): 0,
    }
