"""What is wrong with a classifier's answer is told before a method builds numbers on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xcore
from xcore.contract import NotApplicable, UsageError, XcoreError
from xcore.contract.protocols import Run, Task
from xcore.contract.types import Cell, Concept, Cost, Dictionary, Explanation, Ref, Score
from xcore.run.checks import checked, checked_scores, explanation_faults
from xcore.testing import World


class Masked(nn.Module):
    """Gives the logit of the last class as minus infinity, as class-incremental learning does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).amax((2, 3))).index_fill(1, torch.tensor([2]), float("-inf"))


@pytest.mark.parametrize("method", ["craft", "eac", "lens"])
def test_a_class_whose_logit_is_infinite_is_refused_by_name(method: str) -> None:
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UsageError, match=r"logit of class 'c' is -inf for 6 of 6 samples, first .*masks this class"):
        xcore.explain(method, Masked().eval(), images, target="c", class_names={"a": 0, "b": 1, "c": 2})


class Takes32(Masked):
    """Takes one size only, as vision transformers do."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 32, "Input height (16) doesn't match model (32)."
        return super().forward(x)


class NoLayers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)


def explained(images: object, **given: object) -> object:
    keys = {"target": "a", "class_names": ["a", "b", "c"], **given}
    return xcore.explain(keys.pop("method", "lens"), keys.pop("model", Takes32().eval()), images, **keys)


PLAIN = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("images", "given", "message"),
    [
        (PLAIN * float("nan"), {}, "image/0 holds NaN"),
        ([PLAIN[0], PLAIN[0, :, :16]], {}, r"the pictures have 2 sizes: 32 x 32, 16 x 32 \(say which one"),
        (PLAIN[..., :16], {}, r"cannot read the samples of shape \(4, 3, 32, 16\): Input height"),
        (
            PLAIN,
            {"class_names": "a,b,c"},
            r"class names are one string \(pass a list of names, such as \['a', 'b', 'c'\]",
        ),
        (PLAIN, {"target": torch.tensor(9)}, "target 9 is not one of 3 classes"),
        (PLAIN, {"target": 0.5}, "the target is a float"),
    ],
)
def test_what_is_wrong_with_the_request_is_told_in_one_line(images: object, given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explained(images, **given)


@pytest.mark.parametrize("target", [np.int64(1), torch.tensor(1), 1, "1", "b"])
def test_an_integer_of_numpy_or_torch_is_an_index(target: object) -> None:
    assert explained(PLAIN, target=target).target == "b"


def test_a_network_without_layers_is_no_place_for_a_method_that_opens_one() -> None:
    with pytest.raises(NotApplicable, match="NoLayers has no layer that can be opened"):
        explained(PLAIN, method="craft", model=NoLayers(), class_names=["a", "b"])


# -- what a method or metric gives back ------------------------------------------------------------------------------
def good(task: Task) -> Explanation:
    layer, n = task.layer, len(task.samples)
    channels = task.classifier.open(layer).activations(task.samples.take([0])).shape[1]
    shown = task.samples.take([0, 1])
    concept = Concept(
        "first",
        2.0,
        shown,
        words=("first",),
        source=torch.tensor([0, -1]),
        directions={layer: torch.ones(channels)},
        atom=0,
        maps=torch.ones(n, 32, 32),
        local=torch.ones(n),
        evidence={"p": 0.5},
    )
    dictionary = Dictionary(layer, torch.ones(2, channels), torch.ones(n, 4, 2), "nnls", {"centre": torch.zeros(3)})
    more = replace(concept, name="second", importance=1.0, atom=1, parent=0)
    part = Explanation("made", "group a", "nothing", (replace(concept, maps=torch.ones(1, 32, 32), atom=None),))
    return Explanation("made", task.target_name, "nothing", (concept, more), dictionary, (part,), ({"step": 0},))


def first(**fields: object) -> Callable[[Explanation], Explanation]:
    return lambda made: replace(made, concepts=(replace(made.concepts[0], **fields), *made.concepts[1:]))


def whole(**fields: object) -> Callable[[Explanation], Explanation]:
    return lambda made: replace(made, **fields)


def images(**change: Callable[[Tensor], Tensor]) -> Callable[[Explanation], Explanation]:
    (how,) = change.values()

    def changed(made: Explanation) -> Explanation:
        shown = made.concepts[0].samples
        assert shown is not None
        return first(samples=replace(shown, data=how(shown.images)))(made)

    return changed


WRONG: dict[str, tuple[Callable[[Explanation], Any], str]] = {
    "none": (lambda made: None, "returned NoneType, not an Explanation"),
    "target": (whole(target="blobs"), "target is 'blobs'; the task asks for 'stripes'"),
    "unit": (whole(importance_is=""), "importance_is is the string ''; it must be a string that is not empty"),
    "method": (whole(method=3), "method is 3; it must be a string"),
    "order": (
        first(importance=0.5),
        r"concepts are not sorted: importance 0\.5 at 0 comes before 1",
    ),
    "concepts": (whole(concepts=None), "concepts is None; it must be a tuple of concepts"),
    "a concept": (whole(concepts=("x",)), "concepts holds the string 'x'; it must be a tuple of concepts"),
    "notes, one string": (whole(notes="beware"), "notes is the string 'beware'; it must be a tuple of strings"),
    "notes, numbers": (whole(notes=(1,)), "notes holds 1; it must be a tuple of strings"),
    "trace": (whole(trace=(1,)), "trace holds 1; it must be a tuple of mappings"),
    "parts": (whole(parts=(1,)), "parts holds 1; it must be a tuple of explanations"),
    "files": (whole(files={"a": "b"}), "files has the string 'a': the string 'b'; it must map names to paths"),
    "no file": (whole(files={"a": Path("nowhere.png")}), "files names 'a', and there is no file nowhere.png"),
    "cost": (whole(cost=Cost(forwards=-1)), "forwards of its cost is -1; it must be a number from 0"),
    "name": (first(name=None), "name is None; it must be a string"),
    "importance": (first(importance=float("nan")), r"concept 0 \('first'\) of method 'mine': importance is nan"),
    "importance, text": (first(importance="high"), "importance is the string 'high'; it must be a number"),
    "evidence": (first(evidence={"p": float("inf")}), "p is inf"),
    "evidence, text": (first(evidence={"p": "low"}), "p is the string 'low'; it must be a number"),
    "words": (first(words="striped"), "words is the string 'striped'; it must be a tuple of strings"),
    "render": (first(render=""), "render is the string ''"),
    "samples": (first(samples=torch.ones(2, 3, 8, 8)), r"samples is a Tensor \(2, 3, 8, 8\) of torch.float32"),
    "range, bytes": (
        images(of=lambda x: x * 255),
        r"from 0\.\d+ to 246\.875; they must be from 0 to 1",
    ),
    "range, normalised": (images(of=lambda x: x * 4 - 2), r"samples hold values from -1\.\d+ to 1\.\d+; they must"),
    "range, nan": (images(of=lambda x: x / 0 - x / 0), "samples hold values from nan to nan"),
    "dtype": (images(of=lambda x: x.double()), r"samples are torch\.float64; they must be torch\.float32"),
    "source, length": (first(source=torch.tensor([0])), "source names 1 samples, and the concept has 2 samples"),
    "source, index": (first(source=torch.tensor([0, 12])), "source holds 12; the task has samples 0 to 11"),
    "source, below": (first(source=torch.tensor([0, -2])), "source holds -2; the task has samples 0 to 11"),
    "source, floats": (first(source=torch.ones(2)), r"source is a Tensor \(2,\) of torch.float32; .* of integers"),
    "source, none": (first(samples=None), "source names 2 samples, and the concept has no samples"),
    "layer": (first(directions={"layer9": torch.ones(3)}), "unknown layer 'layer9'"),
    "direction, nan": (
        first(directions={"4": torch.full((12,), torch.nan)}),
        "direction at '4' holds numbers that are",
    ),
    "direction, width": (
        first(directions={"4": torch.ones(5)}),
        "direction at '4' has 5 values; the layer has 12 chan",
    ),
    "direction, axes": (first(directions={"4": torch.ones(1, 12)}), r"has shape \(1, 12\); it must have shape \(d,\)"),
    "direction, list": (first(directions={"4": [1.0]}), "direction at '4' is a list; it must be a tensor"),
    "directions": (first(directions=None), "directions is None; it must map layers to tensors"),
    "atom": (first(atom=2), "atom is 2; it must be the index of one of 2 atoms"),
    "no dictionary": (whole(dictionary=None), "atom is 0, and the explanation has no dictionary"),
    "parent": (first(parent=2), "parent is 2; it must be the index of another of 2 concepts"),
    "its own parent": (first(parent=0), "parent is 0; it must be the index of another"),
    "maps, negative": (first(maps=-torch.ones(12, 32, 32)), "maps hold -1; they must be 0 or more"),
    "maps, shape": (first(maps=torch.ones(12, 8, 8)), r"maps have shape \(12, 8, 8\), the samples need \(12, 32, 32\)"),
    "maps, bool": (first(maps=torch.ones(12, 32, 32) > 0), r"maps .* holds torch\.bool; it must hold floats"),
    "maps, huge": (first(maps=torch.full((12, 32, 32), 1e5)), r"maps \(kept as 16-bit floats\) holds numbers that are"),
    "local, length": (first(local=torch.ones(2)), r"local has shape \(2,\), the samples need \(12,\)"),
    "local, nan": (first(local=torch.full((12,), torch.nan)), "local holds numbers that are not finite"),
    "encoder": (
        lambda made: whole(dictionary=replace(made.dictionary, encoder="pca"))(made),
        "the encoder of its dictionary is the string 'pca'; known are nnls, linear",
    ),
    "atoms": (
        lambda made: whole(dictionary=replace(made.dictionary, atoms=torch.ones(3, 12)))(made),
        r"codes and atoms of its dictionary have shapes \(12, 4, 2\) and \(3, 12\)",
    ),
    "codes": (
        lambda made: whole(dictionary=replace(made.dictionary, codes=torch.ones(12, 2)))(made),
        r"codes of its dictionary has shape \(12, 2\); it must have shape \(N, P, k\)",
    ),
    "a part": (
        lambda made: whole(parts=(first(importance=float("nan"))(made.parts[0]),))(made),
        r"concept 0 \('first'\) in part 0 of method 'mine': importance is nan",
    ),
}


class TestWhatAMethodGives(World):
    def test_what_is_right_is_kept_as_it_is(self, task: Task) -> None:
        made = good(task)
        assert checked(made, "mine", task) is made
        assert not list(explanation_faults(made, task))

    @pytest.mark.parametrize("wrong", WRONG)
    def test_what_is_wrong_is_refused_by_the_name_of_its_field(self, wrong: str, task: Task) -> None:
        change, message = WRONG[wrong]
        with pytest.raises(XcoreError, match=message) as told:
            checked(change(good(task)), "mine", task)
        assert "\n" not in str(told.value)


class Judge:
    direction: Any = "higher"
    needs: frozenset[str] = frozenset()

    def score(self, runs: object) -> list[Score]:
        return []


WRONG_SCORES: dict[str, tuple[Any, str]] = {
    "none": (None, "mine returned None, not a list of scores"),
    "a number": ([0.5], "mine returned 0.5 among its scores"),
    "name": ([Score("yours", 0, 0.5)], "a score of mine carries the name the string 'yours'; it must be 'mine'"),
    "concept": ([Score("mine", 2, 0.5)], "mine judges the concept 2; it must be the index of one of 2 concepts"),
    "concept, below": ([Score("mine", -1, 0.5)], "mine judges the concept -1"),
    "concept, name": ([Score("mine", "first", 0.5)], "mine judges the concept the string 'first'"),  # type: ignore[arg-type]
    "value": ([Score("mine", 0, float("nan"))], "mine gives concept 0 the value nan"),
    "value, text": ([Score("mine", None, "good")], "mine gives the explanation as value the string 'good'"),  # type: ignore[arg-type]
    "spread": ([Score("mine", 0, 0.5, spread=float("inf"))], "mine gives concept 0 the spread inf"),
    "details": ([Score("mine", 0, 0.5, details={"chance": float("nan")})], "the chance nan"),
    "n": ([Score("mine", 0, 0.5, n=-1)], "as n -1; it must be a number of observations"),
    "samples": ([Score("mine", 0, 0.5, samples=(float("nan"),))], "single observations that are no finite numbers"),
    "reason": ([Score("mine", 0, reason=5)], "as reason 5; it must be a string"),  # type: ignore[arg-type]
    "twice": ([Score("mine", 0, 0.5), Score("mine", 0, 0.6)], "mine gives concept 0 two scores"),
}


class TestWhatAMetricGives(World):
    @pytest.fixture
    def run(self, task: Task) -> Run:
        cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), task.target_name, 0)
        return Run(cell, good(task), task, task.samples, task.random_set)

    def test_what_is_right_is_kept(self, run: Run) -> None:
        right = [Score("mine", None, 0.5, variant="a"), Score("mine", 0, 1.0), Score("mine", 1, reason="no samples")]
        assert checked_scores(right, Judge(), "mine", [run]) == right

    @pytest.mark.parametrize("wrong", WRONG_SCORES)
    def test_what_is_wrong_is_refused(self, wrong: str, run: Run) -> None:
        scores, message = WRONG_SCORES[wrong]
        with pytest.raises(XcoreError, match=message):
            checked_scores(scores, Judge(), "mine", [run])

    def test_a_direction_that_is_none(self, run: Run) -> None:
        judge = Judge()
        judge.direction = "up"
        with pytest.raises(XcoreError, match="direction of mine is the string 'up'; it must be one of higher, lower"):
            checked_scores([], judge, "mine", [run])
