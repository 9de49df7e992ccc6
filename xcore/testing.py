"""The proof: conformance classes that a plugin author subclasses.

::

    from xcore.testing import ExplainerTests

    class TestMine(ExplainerTests):
        @pytest.fixture
        def explainer(self):
            return Mine(MineOptions())

Each class asks for the one fixture that it cannot know; the world that the component is tried on is made here (and may
be overridden by fixtures of the same names).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from xcore.codec import decode, encode
from xcore.contrast import Contrast
from xcore.errors import UsageError
from xcore.live import LiveData
from xcore.options import validate
from xcore.protocols import Run, Task
from xcore.task import TrainingData
from xcore.testing_generators import GeneratorTests as GeneratorTests
from xcore.testing_generators import global_state as global_state
from xcore.testing_inputs import ClassifierTests as ClassifierTests
from xcore.testing_inputs import DatasetTests as DatasetTests
from xcore.types import Budget, Cell, Explanation, Ref, Samples, Score

if TYPE_CHECKING:
    from xcore.protocols import Classifier, Explainer, Generator, Metric

SIDE = 32


def tiny_network(classes: int = 3, seed: int = 0) -> torch.nn.Module:
    """A small convolutional network with non-negative activations and a head that is not affine."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 12, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(48, 16),
        torch.nn.Tanh(),
        torch.nn.Linear(16, classes),
    )
    torch.set_rng_state(state)
    return network


def stripes(n: int, seed: int, side: int = SIDE) -> Samples:
    """Images of noisy stripes, of seeded colours and widths."""
    rng = np.random.default_rng(seed)
    rows = torch.arange(side)
    images = []
    for _ in range(n):
        bands = ((rows // int(rng.integers(2, 5))) % 2).float().view(1, side, 1)
        colour = torch.tensor(rng.uniform(0.2, 1, 3), dtype=torch.float32).view(3, 1, 1)
        noise = torch.tensor(rng.uniform(0, 0.2, (3, side, side)), dtype=torch.float32)
        images.append((bands * colour * 0.8 + noise).clamp(0, 1))
    return Samples("image", torch.stack(images), tuple(f"stripes/{seed}/{i}" for i in range(n)))


def blobs(n: int, seed: int, side: int = SIDE) -> Samples:
    """Images of smooth noise: the other class."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, side // 4, side // 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return Samples("image", images, tuple(f"blobs/{seed}/{i}" for i in range(n)))


def model_state(module: torch.nn.Module) -> Mapping[str, Any]:
    """Weights, gradients, modes and hooks of a module, to be compared before and after."""
    return {
        "weights": {k: v.clone().numpy().tobytes() for k, v in module.state_dict().items()},
        "gradients": {k: p.grad is None for k, p in module.named_parameters()},
        "requires_grad": {k: p.requires_grad for k, p in module.named_parameters()},
        "training": {k: m.training for k, m in module.named_modules()},
        "hooks": {
            k: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for k, m in module.named_modules()
        },
    }


class World:
    """Fixtures: a network, its classifier, and a task on stripes against blobs."""

    @pytest.fixture
    def module(self) -> torch.nn.Module:
        return tiny_network()

    @pytest.fixture
    def classifier(self, module: torch.nn.Module) -> Classifier:
        from xcore.classifier import TorchClassifier

        return TorchClassifier(module, ("stripes", "blobs", "other"))

    @pytest.fixture
    def generator(self) -> Generator | None:
        return None

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return {}

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return ()

    @pytest.fixture
    def task(
        self,
        classifier: Classifier,
        generator: Generator | None,
        models: Mapping[str, Any],
        vocabulary: tuple[str, ...],
        tmp_path: Path,
    ) -> Task:
        samples = stripes(12, 1)
        data = LiveData(samples, "stripes", blobs(80, 2), vocabulary)
        folder = tmp_path / "work"
        folder.mkdir()
        return Task(
            classifier=classifier,
            layer="4" if "4" in classifier.layers else classifier.default_layer,
            target=0,
            samples=samples,
            contrast=Contrast(
                data, "stripes", "train", seed=0, generator=generator, vocabulary=vocabulary, pool_size=40
            ),
            data=TrainingData(data),
            seed=3,
            vocabulary=vocabulary,
            generator=generator,
            model=lambda role: models[role],
            roles=tuple(models),
            workdir=folder,
            budget=Budget(samples=12),
        )


class ExplainerTests(World):
    """What every explainer must keep. Subclasses give the fixture ``explainer``."""

    @pytest.fixture
    def explainer(self) -> Explainer:
        raise NotImplementedError("subclasses of ExplainerTests give the fixture `explainer`")

    @pytest.fixture
    def explanation(self, explainer: Explainer, task: Task) -> Explanation:
        return explainer.explain(task)

    def test_concepts_are_sorted_and_well_formed(self, explanation: Explanation, task: Task) -> None:
        assert explanation.concepts, "an explanation has at least one concept"
        assert explanation.importance_is, "importance_is names the unit"
        assert explanation.target == task.target_name
        values = [c.importance for c in explanation.concepts]
        assert values == sorted(values, reverse=True)
        assert np.isfinite(values).all()
        for concept in explanation.concepts:
            if concept.samples is not None and concept.samples.kind == "image":
                assert concept.samples.images.dtype == torch.float32
                assert 0 <= float(concept.samples.images.min()) <= float(concept.samples.images.max()) <= 1
            if concept.source is not None and concept.samples is not None:
                assert len(concept.source) == len(concept.samples)
                assert int(concept.source.max()) < len(task.samples)
            if concept.maps is not None:
                assert concept.maps.shape == (len(task.samples), *task.samples.images.shape[-2:])
                assert float(concept.maps.min()) >= 0

    def test_model_is_left_as_found(self, explainer: Explainer, task: Task, module: torch.nn.Module) -> None:
        before = model_state(module)
        explainer.explain(task)
        assert model_state(module) == before

    def test_random_state_is_left_as_found(self, explainer: Explainer, task: Task) -> None:
        before = global_state()
        explainer.explain(task)
        assert global_state() == before

    def test_same_seed_same_result(self, explainer: Explainer, task: Task, tmp_path: Path) -> None:
        made = []
        for name in ("one", "two"):
            (tmp_path / name / "work").mkdir(parents=True)
            explanation = explainer.explain(replace(task, workdir=tmp_path / name / "work"))
            plain = encode(explanation, tmp_path / name)
            plain["cost"] = None
            tensors = tmp_path / name / "tensors.safetensors"
            made.append((plain, tensors.read_bytes() if tensors.exists() else b""))
        assert made[0] == made[1]

    def test_store_round_trip(self, explanation: Explanation, tmp_path: Path) -> None:
        folder = tmp_path / "record"
        folder.mkdir()
        back = decode(encode(explanation, folder), folder)
        assert [c.name for c in back.concepts] == [c.name for c in explanation.concepts]
        assert [c.importance for c in back.concepts] == [float(c.importance) for c in explanation.concepts]
        for one, two in zip(explanation.concepts, back.concepts, strict=True):
            assert set(one.directions) == set(two.directions)
            assert (one.samples is None) == (two.samples is None)
            if one.samples is not None and two.samples is not None and one.samples.kind == "image":
                assert torch.allclose(one.samples.images, two.samples.images, atol=0.5 / 255 + 1e-6)


class OptionsTests:
    """What every options model must keep. Subclasses give the fixture ``options_model``."""

    @pytest.fixture
    def options_model(self) -> type[Any]:
        raise NotImplementedError("subclasses of OptionsTests give the fixture `options_model`")

    def test_defaults_are_valid(self, options_model: type[Any]) -> None:
        assert validate(options_model, {}, "defaults") == options_model()

    def test_unknown_option_is_refused_with_the_nearest_name(self, options_model: type[Any]) -> None:
        first = next(iter(options_model.model_fields))
        with pytest.raises(UsageError, match=first):
            validate(options_model, {f"{first}_": 1}, "this component")

    def test_every_option_says_what_it_is(self, options_model: type[Any]) -> None:
        silent = [n for n, f in options_model.model_fields.items() if not f.description]
        assert not silent, f"options without a description: {silent}"


class MetricTests(World):
    """What every metric must keep. Subclasses give the fixture ``metric``."""

    @pytest.fixture
    def metric(self) -> Metric:
        raise NotImplementedError("subclasses of MetricTests give the fixture `metric`")

    @pytest.fixture
    def run(self, task: Task) -> Run:
        from xcore.types import Concept

        concepts = tuple(
            Concept(f"concept {i}", 1.0 - 0.1 * i, stripes(6, 50 + i) if i else blobs(6, 50)) for i in range(3)
        )
        explanation = Explanation("made", task.target_name, "nothing", concepts)
        cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), task.target_name, 0)
        return Run(cell, explanation, task, stripes(10, 7), task.contrast)

    @pytest.fixture
    def scores(self, metric: Metric, run: Run) -> list[Score]:
        return metric.score([run])

    def test_every_concept_or_the_whole_is_scored(self, scores: list[Score], run: Run) -> None:
        indices = [s.concept for s in scores]
        assert indices, "a metric returns at least one score"
        assert None in indices or sorted(i for i in indices if i is not None) == list(
            range(len(run.explanation.concepts))
        )
        assert all(s.value is None or np.isfinite(s.value) for s in scores)

    def test_scores_repeat(self, metric: Metric, scores: list[Score], run: Run) -> None:
        assert metric.score([run]) == scores

    def test_random_state_is_left_as_found(self, metric: Metric, run: Run) -> None:
        before = global_state()
        metric.score([run])
        assert global_state() == before
