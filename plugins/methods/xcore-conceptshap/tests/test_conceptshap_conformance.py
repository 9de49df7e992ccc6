"""What every explainer and its options must keep."""

from typing import Any

import pytest
from xcore_conceptshap.conceptshap import ConceptShap
from xcore_conceptshap.options import Options

from xcore.testing import ExplainerTests, OptionsTests


class TestConceptShap(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Any:
        return ConceptShap(Options(k=3, steps=40, tuning=15, hidden=16, batch=16, rate=0.02))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options
