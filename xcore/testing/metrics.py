"""What every metric must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xcore.contract.protocols import Run, Task
from xcore.contract.types import Cell, Concept, Explanation, Ref, Score
from xcore.run.checks import checked_scores
from xcore.testing.world import World, blobs, global_state, stripes

if TYPE_CHECKING:
    from xcore.contract.protocols import Metric


class MetricTests(World):
    """What every metric must keep. Subclasses give the fixture ``metric``."""

    @pytest.fixture
    def metric(self) -> Metric:
        raise NotImplementedError("subclasses of MetricTests give the fixture `metric`")

    @pytest.fixture
    def run(self, task: Task) -> Run:
        concepts = tuple(
            Concept(f"concept {i}", 1.0 - 0.1 * i, stripes(6, 50 + i) if i else blobs(6, 50)) for i in range(3)
        )
        explanation = Explanation("made", task.target_name, "nothing", concepts)
        cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), task.target_name, 0)
        return Run(cell, explanation, task, stripes(10, 7), task.random_set)

    @pytest.fixture
    def scores(self, metric: Metric, run: Run) -> list[Score]:
        return metric.score([run])

    def test_every_concept_or_the_whole_is_scored(self, metric: Metric, scores: list[Score], run: Run) -> None:
        checked_scores(scores, metric, runs=[run])
        indices = [s.concept for s in scores]
        assert indices, "a metric returns at least one score"
        assert None in indices or sorted(i for i in indices if i is not None) == list(
            range(len(run.explanation.concepts))
        )

    def test_scores_repeat(self, metric: Metric, scores: list[Score], run: Run) -> None:
        assert metric.score([run]) == scores

    def test_random_state_is_left_as_found(self, metric: Metric, run: Run) -> None:
        before = global_state()
        metric.score([run])
        assert global_state() == before
