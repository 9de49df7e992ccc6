"""The metric TS held to the core's conformance classes."""

from __future__ import annotations

import pytest
from xcore_tcav.metric import TS
from xcore_tcav.options import TSOptions

from xcore.testing import MetricTests, OptionsTests


class TestTS(MetricTests):
    @pytest.fixture
    def metric(self):
        return TS(TSOptions())


class TestTSOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return TSOptions
