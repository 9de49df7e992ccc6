"""What every explainer and its options must keep."""

from typing import Any

import pytest
from xcore_cce.cce import Cce
from xcore_cce.options import Options

from xcore.testing import ExplainerTests, OptionsTests


class TestCce(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Any:
        return Cce(Options(subspaces=2, most=3, starts=3, least=0))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options
