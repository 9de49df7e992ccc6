"""The floors and metrics held to the core's conformance classes."""

from __future__ import annotations

import pytest
from xcore_metrics import floors, pairs
from xcore_metrics.cost import cost
from xcore_metrics.options import FloorOptions, PairOptions

from xcore.testing import ExplainerTests, MetricTests, OptionsTests


class Means:
    """An embedder of both image roles: mean colour of each quarter."""

    name = "means"

    def embed(self, samples):
        return samples.images.unfold(2, 16, 16).unfold(3, 16, 16).mean((-1, -2)).flatten(1)

    embed_images = embed


class TestFloors(ExplainerTests):
    @pytest.fixture(params=["class_crops", "other_class", "noise"])
    def explainer(self, request):
        return getattr(floors, request.param)(FloorOptions())


class TestPairs(MetricTests):
    @pytest.fixture
    def models(self):
        return {"image-text": Means(), "image-embedder": Means()}

    @pytest.fixture(params=["cs", "ed", "rcs", "red"])
    def metric(self, request):
        return getattr(pairs, request.param)(PairOptions())


class TestCost(MetricTests):
    @pytest.fixture
    def metric(self):
        return cost()


class TestPairOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return PairOptions


class TestFloorOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return FloorOptions
