"""Seed prompts: the class name, de-duplication, ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import acos, cos, sin

import pytest
import torch
from torch import Tensor
from xcore_rlpo.options import Options
from xcore_rlpo.seed_prompts import choose, distinct, pieces, probabilities, without_class_name

from xcore.contract import MissingError, NotApplicable, Samples, Task

COLOURS = {"red": [1.0, 0, 0], "scarlet": [0.99, 0.01, 0], "green": [0, 1.0, 0], "blue": [0, 0, 1.0]}


class Colours:
    """Images and words by their mean colour."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([COLOURS[t.split()[0]] for t in texts])


@pytest.fixture
def task(seed_task: Callable[..., Task]) -> Callable[[Sequence[str]], Task]:
    images = torch.zeros(4, 3, 7, 8)
    images[:, 0] = 0.9
    images[:, 1, :, 4:] = 0.8
    samples = Samples("image", images, tuple("abcd"))
    return lambda vocabulary: seed_task(samples, {"image-text": Colours()}, "Green tea", vocabulary)


@pytest.mark.parametrize(("cosine", "kept"), [(0.951, [0]), (0.949, [0, 1]), (1.0, [0])])
def test_phrases_above_the_threshold_are_one(cosine: float, kept: list[int]) -> None:
    angle = acos(cosine)
    assert distinct(torch.tensor([[1.0, 0.0], [cos(angle), sin(angle)]]), 0.95) == kept


def test_order_decides_and_removed_phrases_remove_none() -> None:
    angle = acos(0.96)
    fan = torch.tensor([[cos(i * angle), sin(i * angle)] for i in range(3)])
    assert distinct(fan, 0.95) == [0, 2], "the second is near both, but it is gone"
    assert distinct(fan[[1, 0, 2]], 0.95) == [0]


def test_class_name_is_removed_whatever_its_case() -> None:
    assert without_class_name(["Zebra skin", "a ZEBRA", "stripes", "stripes", "zeb"], "zebra") == ("stripes", "zeb")
    given = ["a Polar bear", "polar_bear", "bear", "polar"]
    assert without_class_name(given, "polar_bear") == without_class_name(given, "Polar bear")[1:] == ("bear", "polar")


def test_patches_cover_the_grid_column_by_column() -> None:
    image = torch.arange(9.0).view(3, 3).T.repeat_interleave(2, 0).repeat_interleave(2, 1) / 8
    found = pieces(Samples("image", image.expand(2, 3, 6, 6).clone(), ("a", "b")), 3)
    assert found.images.shape == (18, 3, 6, 6)
    torch.testing.assert_close(found.images.mean((1, 2, 3))[::2] * 8, torch.arange(9.0))
    texts = Samples("text", ("x", "y"), ("x", "y"))
    assert pieces(texts, 3) is texts
    with pytest.raises(NotApplicable, match="patches"):
        pieces(Samples("image", torch.zeros(1, 3, 2, 9), ("a",)), 3)


def test_probabilities_are_means_of_softmax() -> None:
    samples = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    found = probabilities(samples, torch.eye(2), 1.0)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.5]))


def test_vocabulary_is_ranked_and_cleaned(task: Callable[[Sequence[str]], Task]) -> None:
    got = choose(task(["blue", "green", "scarlet", "red", "green tea leaf"]), Options(actions=3))
    assert got.phrases == ("scarlet", "green", "blue"), "red is near scarlet, which these images are nearer to"
    assert got.prior == tuple(sorted(got.prior or (), reverse=True))
    assert choose(task(["blue", "green", "red"]), Options(actions=1)).phrases == ("red",)


def test_own_prompts_are_taken_as_they_are(task: Callable[[Sequence[str]], Task]) -> None:
    made = replace(task([]), model=lambda role: pytest.fail("not asked for"))
    got = choose(made, Options(prompts=("green tea", "blue")))
    assert (got.phrases, got.prior) == (("green tea", "blue"), None)
    ranked = choose(task([]), Options(prompts=("blue", "red"), policy="ranking"))
    assert ranked.phrases == ("red", "blue")


def test_errors_name_what_is_missing(task: Callable[[Sequence[str]], Task]) -> None:
    with pytest.raises(MissingError, match="no vocabulary"):
        choose(task([]), Options())
    with pytest.raises(MissingError, match="class name"):
        choose(task(["GREEN TEA"]), Options())
