"""What several tests of the metrics share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from xcore_metrics.faithfulness import variants

from xcore.contract import Metric, Run, Score
from xcore.run.checks import checked_scores


@pytest.fixture(autouse=True)
def _no_variants_of_other_tests() -> None:
    variants._cache.clear()


@pytest.fixture
def only() -> Callable[[Metric, Run], Score]:
    """(metric, run) -> the one score of the run, which must be valid."""

    def score(metric: Metric, run: Run) -> Score:
        (one,) = checked_scores(metric.score([run]))
        return one

    return score
