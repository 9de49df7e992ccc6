"""What a run of the loop did."""

from __future__ import annotations

from dataclasses import dataclass, field

from xcore.contract.types import Outcome


@dataclass
class Result:
    """How the cells of a run ended, and which scores failed."""

    outcomes: list[Outcome] = field(default_factory=list)
    score_failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, status: str) -> int:
        return sum(o.status == status for o in self.outcomes)

    @property
    def cached(self) -> int:
        return sum(o.cached for o in self.outcomes)
