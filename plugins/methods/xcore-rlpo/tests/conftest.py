"""What several tests of RLPO need: a task that only seed prompts are chosen for, and the check of refused options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from xcore_rlpo.options import Options

from xcore.contract import MissingError, Samples, Task, UsageError, validate
from xcore.models.classifiers import FunctionClassifier


@pytest.fixture
def seed_task() -> Callable[..., Task]:
    """Makes a task with class samples, helper models and a vocabulary, but without a generator or random sets."""

    def make(
        samples: Samples, models: Mapping[str, Any], cls: str, vocabulary: Sequence[str] = (), **more: Any
    ) -> Task:
        def model(role: str) -> Any:
            if role not in models:
                raise MissingError(f"no model for the role {role!r}", f"name one with --model {role}=REF")
            return models[role]

        return Task(
            FunctionClassifier(lambda x: x.mean((2, 3)), [cls, "g", "b"]),
            "",
            0,
            samples,
            random_set=None,  # type: ignore[arg-type]
            data=None,  # type: ignore[arg-type]
            seed=0,
            vocabulary=tuple(vocabulary),
            model=model,
            roles=tuple(models),
            **more,
        )

    return make


@pytest.fixture
def refused() -> Callable[[Mapping[str, Any], str], None]:
    """Asserts that options are refused as the command line would refuse them, with a message that matches."""

    def check(options: Mapping[str, Any], match: str) -> None:
        with pytest.raises(UsageError, match=match):
            validate(Options, options, "method 'rlpo'")

    return check
