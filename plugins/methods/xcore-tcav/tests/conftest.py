"""What several tests of TCAV share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from xcore_tcav.options import TcavOptions
from xcore_tcav.tcav import Tcav

from xcore.contract import Concept, Explanation, Task


@pytest.fixture
def explain() -> Callable[..., Explanation]:
    """(task, **options) -> the explanation of `tcav`, with 8 random sets unless the options say otherwise."""

    def run(task: Task, **options: Any) -> Explanation:
        return Tcav(TcavOptions(**{"negatives": 8, **options})).explain(task)

    return run


@pytest.fixture
def by_name() -> Callable[[Explanation], dict[str, Concept]]:
    """The concepts of an explanation by their names."""
    return lambda explanation: {c.name: c for c in explanation.concepts}
