"""The controls show what they claim, and the same for the same seed."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from xcore_metrics.controls import class_crops, noise, other_class
from xcore_metrics.options import ControlOptions

from xcore.api import load_registry
from xcore.contract import Explanation, NotApplicable, Ref, Samples, UsageError, validate

CLASSES = ("zebra", "tiger", "cow", "swan")


class Data:
    """Images whose pixels are the index of their class."""

    def __init__(self, classes: tuple[str, ...] = CLASSES) -> None:
        self.classes = classes
        self.splits: set[str] = set()

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        self.splits.add(split)
        data = torch.full((n, 3, 4, 4), CLASSES.index(cls) / 10)
        return Samples("image", data, tuple(f"{cls}/{seed}/{i}" for i in range(n)))


def task_of(height: int = 8, width: int = 8, n: int = 35, seed: int = 0, data: Any = None) -> Any:
    images = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(7))
    return SimpleNamespace(
        samples=Samples("image", images, tuple(f"s{i}" for i in range(n))),
        target_name="zebra",
        seed=seed,
        data=data or Data(),
        random_set=lambda n, index, render="as-is", purpose="negative": Samples(
            "image", torch.full((n, 3, 4, 4), 0.9), tuple(f"r{index}/{i}" for i in range(n))
        ),
        progress=lambda *told: None,
    )


def images(explanation: Explanation) -> list[torch.Tensor]:
    return [c.samples.images for c in explanation.concepts if c.samples is not None]


@pytest.mark.parametrize("make", [class_crops, other_class, noise])
def test_every_control(make: Any) -> None:
    state = torch.random.get_rng_state().clone(), np.random.get_state()[1].copy()
    explanation = make().explain(task_of())
    assert explanation.target == "zebra"
    assert explanation.importance_is == "none (a control)"
    assert [(c.importance, len(c.samples)) for c in explanation.concepts] == [(0.0, 10)] * 3
    for again in (make().explain(task_of()), make(None).explain(task_of())):
        assert all(torch.equal(x, y) for x, y in zip(images(explanation), images(again), strict=True))
        assert [c.samples.ids for c in again.concepts] == [c.samples.ids for c in explanation.concepts]
    other = make().explain(task_of(seed=1))
    assert [c.samples.ids for c in other.concepts] != [c.samples.ids for c in explanation.concepts]
    assert all(bool((x >= 0).all() and (x <= 1).all()) for x in images(explanation))
    assert torch.equal(state[0], torch.random.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])
    few = make(ControlOptions(concepts=2, samples=4)).explain(task_of())
    assert [len(c.samples) for c in few.concepts] == [4, 4]


@pytest.mark.parametrize(("height", "width", "render"), [(8, 8, "crop:4>8"), (8, 12, "crop:4>8x12")])
def test_class_crops_are_crops_of_the_explained_images(height: int, width: int, render: str) -> None:
    task = task_of(height, width)
    explanation = class_crops().explain(task)
    used: list[int] = []
    for concept in explanation.concepts:
        assert concept.render == render
        used += concept.source.tolist()
        for source, shown in zip(concept.source.tolist(), concept.samples.images, strict=True):
            image = task.samples.images[source]
            wide = 4 * width // height  # a window has the aspect ratio of the image
            cuts = [image[:, y : y + 4, x : x + wide] for y in range(height - 3) for x in range(width - wide + 1)]
            every = interpolate(torch.stack(cuts), size=(height, width), mode="bilinear", align_corners=False)
            assert ((every - shown).abs().amax((1, 2, 3)) < 1e-6).sum() == 1
    assert len(set(used)) == 30  # no image twice while there are enough


def test_more_crops_than_images_use_every_image_equally() -> None:
    explanation = class_crops().explain(task_of(n=5))
    counts = torch.cat([c.source for c in explanation.concepts]).bincount()
    assert counts.tolist() == [6] * 5


def test_other_class_shows_one_other_class_a_concept() -> None:
    task = task_of()
    explanation = other_class().explain(task)
    assert {c.name for c in explanation.concepts} == {"images of tiger", "images of cow", "images of swan"}
    for concept in explanation.concepts:
        index = CLASSES.index(concept.name.removeprefix("images of "))
        assert bool((concept.samples.images == index / 10).all())
        assert concept.render == "as-is"
    assert task.data.splits == {"train"}


def test_the_random_sets_of_noise_are_noise() -> None:
    registry = load_registry()
    concept = noise().explain(task_of()).concepts[0]
    name, _, how = concept.render.partition(":")
    made = registry.rendering(name)(task_of(n=200).samples, how, np.random.default_rng(0))
    assert made.images.shape == (200, *concept.samples.images.shape[1:])
    assert abs(float(made.images.mean()) - 0.5) < 0.01
    assert abs(float(made.images.std()) - 12**-0.5) < 0.01
    assert not torch.equal(made.images[0], made.images[1])
    texts = Samples("text", ("one two", "three"), ("a", "b"))
    said = registry.rendering(name)(texts, how, np.random.default_rng(0))
    assert [len(t.split()) for t in said.texts] == [5, 5]
    assert len(set(said.texts)) == 2


def test_a_data_set_of_one_class_shows_random_sets() -> None:
    explanation = other_class().explain(task_of(data=Data(("zebra",))))
    assert [c.name for c in explanation.concepts] == ["random set 1", "random set 2", "random set 3"]
    assert all(bool((x == 0.9).all()) for x in images(explanation))


def test_noise_is_uniform_and_independent() -> None:
    values = torch.stack(images(noise(ControlOptions(samples=40)).explain(task_of(16, 16)))).double()
    n = values.numel()
    assert values.mean().item() == pytest.approx(1 / 2, abs=5 * (1 / 12 / n) ** 0.5)
    assert values.var().item() == pytest.approx(1 / 12, abs=5 * (1 / 180 / n) ** 0.5)
    left, right = values[..., :-1].flatten(), values[..., 1:].flatten()
    assert torch.corrcoef(torch.stack([left, right]))[0, 1].abs().item() < 5 / n**0.5


def test_a_class_without_training_images_is_named() -> None:
    task = task_of()
    task.data.samples = lambda cls, split, n, seed: task.samples.take([])
    with pytest.raises(NotApplicable, match="no training images of class"):
        other_class().explain(task)


def test_no_samples_are_not_applicable() -> None:
    task = task_of()
    task.samples = task.samples.take([])
    with pytest.raises(NotApplicable, match="noise needs samples"):
        noise().explain(task)


def test_bad_options_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'samples'"):
        validate(ControlOptions, {"sample": 3}, "method 'noise'")


def test_cards_lead_to_factories() -> None:
    from xcore.registry import Registry

    registry = Registry().load_installed()
    more = ("C-insertion", "C-deletion", "C-muFidelity", "completeness", "localisation", "pointing")
    for name in ("CS", "ED", "RCS", "RED", "recovery", "AUC", "cost", *more):
        assert registry.create("metric", Ref(name)).direction in ("higher", "lower")
    for name in ("class-crops", "other-class", "noise"):
        assert registry.create("explainer", Ref(name, {"concepts": 2})).options.concepts == 2
    assert registry.create("metric", Ref("ED", {"std_over": "pairs"})).options.std_over == "pairs"
    assert registry.roles(Ref("CS"), "metric") == ("image-text", "text-embedder")


def test_cards_and_options_are_light() -> None:
    code = (
        "import sys, xcore_metrics.plugin\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "import xcore_metrics.options\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
