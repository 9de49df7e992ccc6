"""The controls and metrics held to the core's conformance classes."""

from __future__ import annotations

import pytest
from xcore_metrics import controls, localisation, pairs
from xcore_metrics.cost import cost
from xcore_metrics.faithfulness import completeness, removal, variants
from xcore_metrics.options import (
    CompletenessOptions,
    ControlOptions,
    LocalisationOptions,
    PairOptions,
    RecoveryOptions,
    RemovalOptions,
)

from xcore.testing import ExplainerTests, MetricTests, OptionsTests, xfail


class Means:
    """An embedder of both image roles: mean colour of each quarter."""

    name = "means"

    def embed(self, samples):
        return samples.images.unfold(2, 16, 16).unfold(3, 16, 16).mean((-1, -2)).flatten(1)

    embed_images = embed


class TestControls(ExplainerTests):
    @pytest.fixture(params=["class_crops", "other_class", "noise"])
    def explainer(self, request):
        return getattr(controls, request.param)(ControlOptions())


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

    test_a_perfect_explanation_beats_a_random_one = xfail(reason="it measures seconds, not concepts")


class Found(MetricTests):
    """The run of the conformance world has all that the removal and localisation metrics read."""

    @pytest.fixture(autouse=True)
    def nothing_is_kept(self):
        variants._cache.clear()

    reasons: frozenset[str] = frozenset()

    def test_nothing_is_missing(self, scores):
        assert {s.reason for s in scores if s.value is None} == self.reasons


class TestRemoval(Found):
    @pytest.fixture(params=["insertion", "deletion", "mu_fidelity"])
    def metric(self, request):
        return getattr(removal, request.param)(RemovalOptions())


class TestCompleteness(Found):
    reasons = frozenset({"the data set gives no labels"})  # those of the conformance world; see test_completeness.py

    @pytest.fixture
    def metric(self):
        return completeness.completeness(CompletenessOptions())


class TestLocalisation(Found):
    @pytest.fixture(params=["localisation", "pointing"])
    def metric(self, request):
        return getattr(localisation, request.param)(LocalisationOptions())


class TestPairOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return PairOptions


class TestMoreOptions(OptionsTests):
    @pytest.fixture(params=[RemovalOptions, CompletenessOptions, LocalisationOptions, RecoveryOptions])
    def options_model(self, request):
        return request.param


class TestControlOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return ControlOptions
