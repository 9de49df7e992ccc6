"""The controls and metrics held to the core's conformance classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
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

from xcore.contract import Dictionary
from xcore.testing import ExplainerTests, MetricTests, OptionsTests


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


class Found(MetricTests):
    """A run whose concepts have all that the removal and localisation metrics read, in images that have masks."""

    @pytest.fixture
    def found(self, run):
        masks = torch.zeros(len(run.task.samples), 32, 32)
        masks[:, :16] = 1
        run = replace(run, task=replace(run.task, samples=replace(run.task.samples, meta={"masks": masks})))
        generator = torch.Generator().manual_seed(0)
        probe = run.task.classifier.open("4")
        rows = probe.activations(run.task.samples).flatten(2).transpose(1, 2)
        atoms = torch.rand(3, 12, generator=generator)
        dictionary = Dictionary("4", atoms, rows @ torch.linalg.pinv(atoms), "linear")
        maps = torch.rand(3, len(run.task.samples), 32, 32, generator=generator)
        concepts = tuple(
            replace(c, atom=i, directions={"4": atoms[i]}, maps=maps[i]) for i, c in enumerate(run.explanation.concepts)
        )
        return replace(run, explanation=replace(run.explanation, concepts=concepts, dictionary=dictionary))

    @pytest.fixture
    def scores(self, metric, found):
        return metric.score([found])

    def test_scores_repeat(self, metric, scores, found):
        variants._cache.clear()
        assert metric.score([found]) == scores

    def test_random_state_is_left_as_found(self, metric, found):
        super().test_random_state_is_left_as_found(metric, found)

    @pytest.fixture
    def reasons(self):
        return set()

    def test_nothing_is_missing(self, scores, reasons):
        assert {s.reason for s in scores if s.value is None} == reasons


class TestRemoval(Found):
    @pytest.fixture(params=["insertion", "deletion", "mu_fidelity"])
    def metric(self, request):
        return getattr(removal, request.param)(RemovalOptions())


class TestCompleteness(Found):
    @pytest.fixture
    def metric(self):
        return completeness.completeness(CompletenessOptions())

    @pytest.fixture
    def reasons(self):
        return {"the data set gives no labels"}  # the conformance world has none; see test_completeness.py


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
