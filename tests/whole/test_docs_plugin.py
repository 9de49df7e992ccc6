"""The explainer that the docs show is loaded from its file and explains: what a plugin author reads works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import xcore
from xcore.api import load_registry
from xcore.contract import Explainer, Explanation, Ref
from xcore.testing import ExplainerTests

FILE = Path(__file__).parents[2] / "docs" / "examples" / "my_method.py"


class BrightSpot(torch.nn.Module):
    """Logit of class 0: brightness of the upper left quarter of the image, and of nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d(2)
        self.head = torch.nn.Linear(4, 2, bias=False)
        self.head.weight.data = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(x.mean(dim=1, keepdim=True)).flatten(1))


def explain() -> Explanation:
    images = torch.rand(6, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 0.2
    images[:, :, :16, :24] += 0.7
    return xcore.explain(
        "mine", BrightSpot(), images, target="spot", class_names=["spot", "rest"], registry=load_registry([FILE])
    )


def test_it_finds_the_patches_that_the_class_needs() -> None:
    explanation = explain()
    assert [c.name for c in explanation.concepts] == ["patch 1", "patch 2", "patch 3"]
    importances = [c.importance for c in explanation.concepts]
    assert importances == sorted(importances, reverse=True)
    assert importances[0] > 0.05
    first = explanation.concepts[0].samples
    assert first is not None
    assert first.images.shape == (6, 3, 32, 48)
    assert float(first.images.mean()) > 0.6  # a patch of the bright quarter, not of the dark rest


def test_it_is_the_same_every_time() -> None:
    for a, b in zip(explain().concepts, explain().concepts, strict=True):
        assert a.importance == b.importance
        assert a.samples is not None
        assert b.samples is not None
        assert torch.equal(a.samples.images, b.samples.images)


def test_the_docs_show_this_file() -> None:
    page = (FILE.parent.parent / "plugins.md").read_text(encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") in page


class TestMine(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Explainer:
        made: Explainer = load_registry([FILE]).create("explainer", Ref("mine"))
        return made
