"""The short examples on docs/plugins.md are run as they stand there, under the conformance tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from xcore.testing import DatasetTests, ExplainerTests, MetricTests, xfail

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


def example(name: str) -> Any:
    """The class of this name, from the only block of the page that defines it."""
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"class {name}" in b]
    space: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, f"docs/plugins.md ({name})", "exec"), space)
    return space[name]


class TestTypical(ExplainerTests):
    @pytest.fixture
    def explainer(self):
        return example("Typical")(None)


class TestBrightness(ExplainerTests):
    @pytest.fixture
    def explainer(self):
        return example("Brightness")(None)

    test_random_weights_change_the_explanation = xfail(reason="it measures pixels, to show `apply` in a few lines")


class TestAgreement(MetricTests):
    @pytest.fixture
    def metric(self):
        return example("Agreement")(None)


class TestSquares(DatasetTests):
    @pytest.fixture
    def data(self):
        return example("Squares")(None)
