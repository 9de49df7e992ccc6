"""What every explainer and its options must keep."""

from dataclasses import replace
from typing import Any

import pytest
from xcore_ace.ace import Ace
from xcore_ace.options import Options
from xcore_ace.patches import rendering

from xcore.contract import Samples, Task
from xcore.testing import ExplainerTests, OptionsTests


class TestAce(ExplainerTests):
    @pytest.fixture
    def task(self, task: Task) -> Task:
        """The task of all explainers, whose random sets know the rendering of this distribution, too."""
        made = rendering(None)

        def random_set(n: int, index: int, render: str = "as-is", purpose: Any = "negative") -> Samples:
            drawn = task.random_set(n, index, "as-is", purpose)
            return made(drawn, render.partition(":")[2], None) if render.startswith("patch:") else drawn

        return replace(task, random_set=random_set)

    @pytest.fixture
    def explainer(self) -> Any:
        return Ace(Options(resolutions=(4, 9), clusters=4, least=4, patches=6, negatives=4, null=19))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options
