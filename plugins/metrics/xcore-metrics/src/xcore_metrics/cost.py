"""The metric cost: what an explanation cost to compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from xcore.contract import Run, Score


class CostMetric:
    """Seconds of one explanation, with model calls, generated samples and peak memory (MB) in the details.

    Seconds depend on the machine and its load; the counts do not. Work that explanations share (artifacts) is counted
    separately, as `shared_seconds`.
    """

    direction: Literal["lower"] = "lower"
    needs: frozenset[str] = frozenset()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each explanation."""
        scores = []
        for run in runs:
            c = run.explanation.cost
            details = {
                "shared_seconds": c.shared_seconds,
                "forwards": c.forwards,
                "backwards": c.backwards,
                "generated": c.generated,
                "peak_mb": c.peak_mb,
            }
            scores.append(Score("cost", value=c.seconds, n=1, details=details))
        return scores


def cost(options: None = None) -> CostMetric:
    """The metric cost; it has no options."""
    return CostMetric()
