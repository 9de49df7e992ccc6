"""The metrics TS and alpha-TCAV held to the core's conformance classes."""

from __future__ import annotations

import pytest
from xcore_tcav.metric import TS, AlphaTcav
from xcore_tcav.options import AlphaTcavOptions, TSOptions

from xcore.testing import MetricTests, OptionsTests


class TestTS(MetricTests):
    @pytest.fixture
    def metric(self):
        return TS(TSOptions())


class TestAlphaTcav(MetricTests):
    @pytest.fixture
    def metric(self):
        return AlphaTcav(AlphaTcavOptions())


class TestTSOptions(OptionsTests):
    @pytest.fixture(params=[TSOptions, AlphaTcavOptions])
    def options_model(self, request):
        return request.param
