"""The explainer and the metrics TS and alpha-TCAV held to the core's conformance classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xcore_tcav.metric import TS, AlphaTcav
from xcore_tcav.options import AlphaTcavOptions, TcavOptions, TSOptions
from xcore_tcav.tcav import Tcav

from xcore.contract import Task
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets
from xcore.testing import ExplainerTests, MetricTests, OptionsTests, blobs, stripes


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


class TestTcav(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Any:
        return Tcav(TcavOptions(negatives=5))

    @pytest.fixture
    def task(self, classifier: Any, tmp_path: Path) -> Task:
        (tmp_path / "work").mkdir()
        data = LiveData(stripes(12, 1), "stripes", blobs(80, 2), ())
        return Task(
            classifier,
            "4",
            0,
            stripes(12, 1),
            RandomSets(data, "stripes", "train", seed=0, pool_size=40),
            TrainingData(data),
            seed=3,
            concepts={"stripes": stripes(20, 31), "blobs": blobs(20, 32)},
            workdir=tmp_path / "work",
        )


class TestTcavOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return TcavOptions
