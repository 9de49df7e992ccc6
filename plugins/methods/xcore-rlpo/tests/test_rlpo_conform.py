"""The core's conformance classes on `rlpo`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from xcore_rlpo.options import Options
from xcore_rlpo.rlpo import Rlpo
from xcore_rlpo.seed_prompts import QUESTIONS
from xcore_rlpo.testing import COLOURS, RED_GREEN_BLUE, ColourAnswers, Colours, Painter

from xcore.testing import SIDE, ExplainerTests, OptionsTests


class TestExplainer(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Rlpo:
        return Rlpo(Options(n=4, negatives=4, steps=8, rank_sets=2, shown=3, gradient_steps=1))

    @pytest.fixture
    def generator(self) -> Painter:
        return Painter(SIDE)

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return {"image-text": Colours()}

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(COLOURS)


class TestExplainerOnAnswers(TestExplainer):
    """The same with seed prompts from questions about the class images."""

    @pytest.fixture
    def explainer(self) -> Rlpo:
        return Rlpo(Options(n=4, negatives=4, steps=4, rank_sets=2, shown=3, gradient_steps=1, vqa_images=3))

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return {"image-text": Colours(), "vqa": ColourAnswers({("red", QUESTIONS[6]): "none"})}

    def test_the_answers_are_the_concepts(self, explanation: Any) -> None:
        assert {c.name for c in explanation.concepts} <= set(RED_GREEN_BLUE)
        assert any(note.startswith("seed prompts come from 189 answers about 3 images: ") for note in explanation.notes)


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[Options]:
        return Options
