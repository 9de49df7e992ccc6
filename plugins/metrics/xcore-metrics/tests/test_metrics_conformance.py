"""The controls and metrics held to the core's conformance classes."""

from __future__ import annotations

import pytest
import torch
from xcore_metrics import controls, localisation, pairs
from xcore_metrics.asking.cosy import cosy
from xcore_metrics.asking.faithtrace import faithtrace
from xcore_metrics.asking.surrogate import surrogate_faithfulness
from xcore_metrics.cost import cost
from xcore_metrics.faithfulness import completeness, removal, variants
from xcore_metrics.options import (
    CompletenessOptions,
    ControlOptions,
    CoSyOptions,
    FaithTraceOptions,
    LocalisationOptions,
    PairOptions,
    RecoveryOptions,
    RemovalOptions,
    SurrogateFaithfulnessOptions,
)

from xcore.testing import ExplainerTests, MetricTests, OptionsTests, xfail
from xcore.testing.planted import COLOURS


class Means:
    """An embedder of both image roles: mean colour of each quarter."""

    name = "means"

    def embed(self, samples):
        return samples.images.unfold(2, 16, 16).unfold(3, 16, 16).mean((-1, -2)).flatten(1)

    embed_images = embed


class Colours:
    """Reads how red, green and blue an image is; other words than these are of one shade each."""

    name = "colours"

    def embed_images(self, samples):
        shade = samples.images.mean((2, 3))
        return shade - 0.8 * shade.mean(1, keepdim=True)

    def embed_texts(self, texts):
        known = torch.eye(3)
        return torch.stack(
            [known[COLOURS.index(t)] if t in COLOURS else torch.tensor([1.0, 1.0, len(t) / 10]) for t in texts]
        )


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


class TestAsking(Found):
    @pytest.fixture
    def vocabulary(self):
        return ("striped", "dotted", "plain", "waves")

    @pytest.fixture
    def models(self):
        return {"image-text": Colours()}

    @pytest.fixture(
        params=[
            (surrogate_faithfulness, SurrogateFaithfulnessOptions(random=3)),
            (faithtrace, FaithTraceOptions()),
            (cosy, CoSyOptions()),
        ],
        ids=["surrogate-faithfulness", "FaithTrace", "CoSy"],
    )
    def metric(self, request):
        made, options = request.param
        return made(options)


class TestLocalisation(Found):
    @pytest.fixture(params=["localisation", "pointing"])
    def metric(self, request):
        return getattr(localisation, request.param)(LocalisationOptions())


class TestPairOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return PairOptions


class TestMoreOptions(OptionsTests):
    @pytest.fixture(
        params=[
            RemovalOptions,
            CompletenessOptions,
            LocalisationOptions,
            RecoveryOptions,
            SurrogateFaithfulnessOptions,
            FaithTraceOptions,
            CoSyOptions,
        ]
    )
    def options_model(self, request):
        return request.param


class TestControlOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return ControlOptions
