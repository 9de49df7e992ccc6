"""What every explainer must keep."""

from typing import Any

import pytest
from xcore_craft.craft import Craft
from xcore_craft.options import Options

from xcore.testing import ExplainerTests, OptionsTests


class TestCraft(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Any:
        return Craft(Options(k=5, exemplars=4))


class TestRecursiveCraft(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Any:
        return Craft(Options(k=3, recurse=1, refine=2, sub_k=2, negative="shift"))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options
