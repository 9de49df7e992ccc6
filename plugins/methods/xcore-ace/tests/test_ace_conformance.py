"""What every explainer and its options must keep."""

from typing import Any

import pytest
from xcore_ace.ace import Ace
from xcore_ace.options import Options

from xcore.testing import ExplainerTests, OptionsTests


class TestAce(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Any:
        return Ace(Options(resolutions=(4, 9), clusters=4, least=4, patches=6, negatives=4, null=19))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options
