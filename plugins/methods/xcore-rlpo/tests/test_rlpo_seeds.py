"""Seed prompts: the class name, de-duplication, ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import acos, cos, sin
from pathlib import Path

import pytest
import torch
from torch import Tensor
from xcore_evidence.phrases import without_class_name
from xcore_rlpo.options import Options
from xcore_rlpo.plugin import vocabulary_fingerprint
from xcore_rlpo.seed_prompts import choose, distinct, pieces, probabilities

from xcore.contract import MissingError, NotApplicable, Samples, Task, XcoreError
from xcore.inputs.everyday import EVERYDAY

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
    ranked = choose(task([]), Options(prompts=("blue", "red"), rank="prior"))
    assert ranked.phrases == ("red", "blue")


def test_a_file_of_phrases_takes_the_place_of_the_vocabulary(
    task: Callable[[Sequence[str]], Task], tmp_path: Path
) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# colours\nblue\n\n  green   tea \nred\nblue\n", encoding="utf-8-sig")
    got = choose(task(["green"]), Options(vocabulary=str(file)))
    assert got.phrases == ("red", "blue"), "without the class name"
    assert got.notes == (f"3 phrases come from the vocabulary file {str(file)!r}",)
    asked = replace(task(["green"]), roles=("image-text", "vqa"), model=task([]).model)
    assert choose(asked, Options(vocabulary=str(file))) == got, "a file that was named wins over questions"
    before = vocabulary_fingerprint(Options(vocabulary=str(file)))
    file.write_text("blue\nred\n")
    assert vocabulary_fingerprint(Options(vocabulary=str(file))) != before


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no vocabulary file"), (b"# red\n \n", "holds no phrase"), (b"\xff\xfered", "no text in UTF-8")],
)
def test_a_file_that_holds_no_phrases_is_refused_by_its_name(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(XcoreError, match=rf"words.txt.*{said}|{said}.*words.txt") as error:
        vocabulary_fingerprint(Options(vocabulary=str(tmp_path / "words.txt")))
    assert "one phrase on each line" in str(error.value)
    assert vocabulary_fingerprint(Options()) == ""


def test_two_sources_of_seed_prompts_are_refused(refused: Callable[..., None]) -> None:
    refused({"vocabulary": "a.txt", "prompts": ["b"]}, "no vocabulary is read: leave one of the two out")
    refused({"vocabulary": "a.txt", "seeds": "vqa"}, "no vocabulary is read: leave one of the two out")


def test_pictures_without_a_vocabulary_are_told_everyday_attributes(task: Callable[[Sequence[str]], Task]) -> None:
    class Hashed(Colours):
        def embed_texts(self, texts: Sequence[str]) -> Tensor:
            rng = torch.Generator().manual_seed(0)
            return torch.rand(len(texts), 3, generator=rng)

    made = task([])
    got = choose(replace(made, model=lambda role: Hashed()), Options(dedup=1.0))
    assert set(got.phrases) < set(EVERYDAY)
    assert len(got.phrases) == 20
    assert got.notes == (
        f"the phrases are {len(EVERYDAY)} everyday visual attributes, as the data set has no vocabulary",
    )


def test_errors_name_what_is_missing(task: Callable[[Sequence[str]], Task]) -> None:
    texts = replace(task([]), samples=Samples("text", ("x",), ("x",)))
    with pytest.raises(MissingError, match="no vocabulary"):
        choose(texts, Options())
    with pytest.raises(MissingError, match="class name"):
        choose(task(["GREEN TEA"]), Options())
