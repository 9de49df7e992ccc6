"""The methods skit and elude, held to the core's conformance classes, and what they say of a world of colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_evidence.elude.explainer import UNNAMED, Elude
from xcore_evidence.elude.options import EludeOptions
from xcore_evidence.skit.explainer import Skit
from xcore_evidence.skit.options import SkitOptions

from xcore.contract import Samples, Task
from xcore.models.classifiers import FunctionClassifier
from xcore.testing import ExplainerTests, OptionsTests

PHRASES = ("red", "green", "blue")


class Colours:
    """An image-text model that reads the mean colour."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.eye(3)[PHRASES.index(t)] if t in PHRASES else torch.ones(3) for t in texts])


class OnColours(ExplainerTests):
    """The world of the suite, with phrases and what reads them."""

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return {"image-text": Colours()}

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return PHRASES

    def test_the_cost_is_what_was_asked(self, explainer: Any, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        asked, logits, opened = list[int](), task.classifier.logits, task.classifier.open
        counted = dict[str, Any]()  # a classifier gives the same probe again

        def counting(samples: Samples) -> Tensor:
            asked.append(len(samples))
            return logits(samples)

        def opening(layer: str) -> Any:
            if layer in counted:
                return counted[layer]
            probe = counted[layer] = opened(layer)
            activations = probe.activations

            def count(samples: Samples) -> Tensor:
                asked.append(len(samples))
                return activations(samples)

            monkeypatch.setattr(probe, "activations", count, raising=False)
            return probe

        monkeypatch.setattr(task.classifier, "logits", counting)
        monkeypatch.setattr(task.classifier, "open", opening)
        made = explainer.explain(task)
        assert made.cost.forwards == sum(asked)


class TestSkit(OnColours):
    @pytest.fixture
    def explainer(self) -> Skit:
        return Skit(SkitOptions(test="conditional", pool=90, samples=90, orders=2, tau=60, warmup=8, shown=3))


class TestElude(OnColours):
    @pytest.fixture
    def explainer(self) -> Elude:
        return Elude(EludeOptions(pool=90, fit="logits", rank=2, shown=3))

    def test_a_black_box_has_attributes_alone(self, explainer: Elude, task: Task) -> None:
        def redder(images: Tensor) -> Tensor:
            means = images.mean((2, 3))
            return 20 * torch.stack([means[:, 0] - 0.4, means[:, 2] - means[:, 0], 0 * means[:, 1]], 1)

        box = FunctionClassifier(redder, ["stripes", "blobs", "other"])
        made = explainer.explain(replace(task, classifier=box, layer=""))
        assert all(not c.name.startswith(UNNAMED) for c in made.concepts)
        assert made.concepts[0].name == "red"
        assert len(made.trace) == 1
        assert any("black box" in note for note in made.notes)


class TestSkitOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[SkitOptions]:
        return SkitOptions


class TestEludeOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[EludeOptions]:
        return EludeOptions
