"""The conformance tests of xcore, words whose truth is known, and a run on the painted world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_example_dissect.matching import p_values, rank_correlation, soft_wpmi
from xcore_example_dissect.method import Dissect
from xcore_example_dissect.options import DissectOptions

import xcore
from xcore.contract import Explainer
from xcore.testing import ExplainerTests, OptionsTests


class TestDissect(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Explainer:
        return Dissect(DissectOptions(k=3, probes=24, top=6, shuffles=40))

    @pytest.fixture
    def models(self, xcore_models: dict[str, Any]) -> dict[str, Any]:
        return {"image-text": xcore_models["image-text"]}

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return ("red", "green", "blue", "stripes")


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[Any]:
        return DissectOptions


@pytest.mark.parametrize("similarity", ["soft-wpmi", "rank"])
def test_a_concept_that_follows_a_phrase_gets_it_and_noise_gets_none(similarity: str) -> None:
    draw = torch.Generator().manual_seed(0)
    phrases = torch.rand(120, 5, generator=draw, dtype=torch.float64)  # similarities of 120 images with 5 phrases
    strength = torch.stack([phrases[:, 3] ** 3, phrases[:, 1].exp(), torch.rand(120, generator=draw)], dim=1)
    chance = torch.rand(120, 100, generator=draw, dtype=torch.float64)
    if similarity == "rank":
        scores, by_chance = rank_correlation(strength, phrases, chance)
        assert scores[0, 3] == pytest.approx(1.0)
    else:
        scores, by_chance = soft_wpmi(strength, phrases, chance, top=30, sharpness=10.0)
    assert scores[:2].argmax(dim=1).tolist() == [3, 1]
    p = p_values(scores, by_chance)
    assert p[:2].tolist() == pytest.approx([1 / 101, 1 / 101])
    assert p[2] > 0.05


def test_a_bench_has_its_words(tmp_path: Path) -> None:
    run = xcore.bench(
        ["dissect"],
        data="minizoo",
        classes=["zebra"],
        metrics=["cost"],
        controls=[],
        set={"dissect": {"k": 4, "probes": 80, "top": 20}},
        budget={"samples": 8, "heldout": 2},
        out=tmp_path / "run",
    )
    assert not run.broken
    names = [row["concept"] for row in run.rows]
    assert any("strip" in name for name in names), names  # the coat of a zebra
