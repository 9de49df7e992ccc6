"""Observed evidence: where samples come from, how phrases are read in them, and what is found and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_evidence.observed import PENALTY, observed, ranges
from xcore_evidence.readings import Pool, most_different, occurrences, pool_of, presence

from xcore.contract import NotApplicable, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier

PHRASES = ("red", "green", "blue")


class Colours:
    """An image-text model that reads how red, green and blue a picture is; it cannot see any other word."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.tensor([float(c in t) + 1e-3 for c in PHRASES]) for t in texts])


class Data:
    """Pictures or texts of classes, in two splits."""

    notes: tuple[str, ...] = ()

    def __init__(self, parts: Mapping[str, Samples], refuses: bool = False) -> None:
        self.parts, self.refuses = parts, refuses
        self.classes = tuple(parts)
        self.modality = next(iter(parts.values())).modality

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        if split == "train" and self.refuses:
            raise UsageError("there is nothing in this split")
        half = len(self.parts[cls]) // 2
        return self.parts[cls].take(slice(0, half) if split == "train" else slice(half, None)).take(slice(n))


def pictures(n: int, seed: int, name: str) -> Samples:
    colours = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(seed))
    return Samples("image", colours.expand(n, 3, 4, 4).contiguous(), tuple(f"{name}/{i}" for i in range(n)))


def make_task(weights: Sequence[float] = (8.0, -8.0, 0.0), **given: Any) -> Task:
    def first(images: Tensor) -> Tensor:
        logit = images.mean((2, 3)) @ torch.tensor(weights)
        return torch.stack([logit, torch.zeros_like(logit)], 1)

    own = {
        "classifier": FunctionClassifier(first, ["warm", "cold"]),
        "samples": pictures(10, 3, "warm"),
        "data": Data({"warm": pictures(80, 1, "warm"), "cold": pictures(80, 2, "cold")}),
        **given,
    }
    return Task(
        layer="", target=0, seed=0, random_set=lambda n, index, *rest: pictures(n, 50 + index, f"random{index}"),
        model=lambda role: {"image-text": Colours()}[role], roles=("image-text",), **own,
    )  # fmt: skip


def test_a_black_box_is_known_by_its_colours() -> None:
    found = observed(make_task(), PHRASES, size=160, chosen=120)
    assert (found.kind, found.n, found.penalty) == ("observed", 120, PENALTY)
    assert [e.mark for e in found.estimates] == [1, -1, 0]
    assert found.ranked() == [0, 2, 1]
    assert all(e.lo < e.effect < e.hi for e in found.estimates)
    assert found.estimates[0].details["inflation"] > 1.5, "cosines of the three colours depend on one another"
    assert any("explain" in note and "variance" in note for note in found.notes)


def test_phrases_that_are_read_alike_are_told() -> None:
    found = observed(make_task(), (*PHRASES, "very red", "sand"), size=160, chosen=120)
    assert ("red", "very red") in found.alike
    assert any("cannot be told apart" in note and "red / very red" in note for note in found.notes)


def test_what_no_phrase_names_marks_nothing() -> None:
    """A classifier that looks at the far digits of a colour only."""

    def blind(images: Tensor) -> Tensor:
        logit = (images[:, 0, 0, 0] * 1e4) % 1.0
        return torch.stack([logit, torch.zeros_like(logit)], 1)

    task = make_task(classifier=FunctionClassifier(blind, ["warm", "cold"]))
    assert not any(e.mark for e in observed(task, PHRASES, size=160, chosen=160).estimates)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(NotApplicable, match="12 samples are too few for 3 phrases: at least 14"):
        observed(make_task(), PHRASES, size=12, chosen=12)


def test_what_one_split_lacks_comes_from_the_next() -> None:
    pool = pool_of(make_task(), 100, 100)
    assert pool.of_class.tolist() == [False] * 40 + [True] * 60
    assert len(set(pool.samples.ids)) == 100
    data = Data({"warm": pictures(80, 1, "warm"), "cold": pictures(80, 2, "cold")}, refuses=True)
    assert len(pool_of(make_task(data=data), 100, 100).samples) == 80, "two halves of 40"


@pytest.mark.parametrize(
    ("own", "others", "kept_own", "kept_others"),
    [(80, 240, 60, 40), (30, 240, 30, 70), (80, 20, 60, 20)],
    ids=["three in five", "the class has fewer", "the others have fewer"],
)
def test_three_in_five_pictures_of_a_pool_are_of_the_class(
    own: int, others: int, kept_own: int, kept_others: int
) -> None:
    data = Data({"warm": pictures(own, 1, "warm"), "cold": pictures(others, 2, "cold")})
    pool = pool_of(make_task(data=data), 300, 100)
    assert (int(pool.of_class.sum()), int((~pool.of_class).sum())) == (kept_own, kept_others)
    assert all(name.startswith("warm") == bool(of) for name, of in zip(pool.samples.ids, pool.of_class, strict=True))


def test_half_of_the_texts_of_a_pool_are_of_the_class() -> None:
    texts = {
        name: Samples("text", tuple(f"{name} {i}" for i in range(90)), tuple(f"{name}/{i}" for i in range(90)))
        for name in ("warm", "cold", "late")
    }
    pool = pool_of(make_task(data=Data(texts), samples=texts["warm"]), 60, 0)
    assert (int(pool.of_class.sum()), len(pool.samples)) == (30, 60)


def test_without_other_classes_the_random_sets_serve() -> None:
    pool = pool_of(make_task(data=Data({"warm": pictures(40, 1, "warm")})), 40, 1000)
    assert int((~pool.of_class).sum()) == 40
    assert pool.notes == ("the samples of other classes are those of the random sets",)


def test_the_most_different_rows_are_chosen_one_after_the_other() -> None:
    """As brute force: the next row is always the one whose nearest chosen row is farthest."""
    rows = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    unit = rows / rows.norm(dim=1, keepdim=True)
    chosen = [0]
    while len(chosen) < 7:
        near = [max(float(unit[i] @ unit[j]) for j in chosen) if i not in chosen else 2.0 for i in range(30)]
        chosen.append(min(range(30), key=lambda i: near[i]))
    assert most_different(rows, 7) == sorted(chosen)
    assert most_different(rows[:3], 7) == [0, 1, 2]


def test_a_phrase_occurs_in_any_inflection_if_its_words_follow_one_another() -> None:
    texts = ["Two striped cats slept.", "a cat with stripes", "Cats; the catalogue", ""]
    read = occurrences(texts, ["cat", "striped cat", "cat sleep", "!"])
    assert read.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_presence_of_pictures_is_a_cosine_in_hundredths() -> None:
    task = make_task()
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    read = presence(task, Samples("image", red.contiguous(), ("a",)), PHRASES)
    assert read[0].tolist() == pytest.approx([100, 0.1, 0.1], abs=0.02)


def test_words_that_are_in_or_out_span_their_whole_range() -> None:
    rare = torch.zeros(100, 1)
    rare[:3] = 1
    assert float(ranges(rare)) == pytest.approx(1 / (0.03 * 0.97) ** 0.5, rel=1e-6)
    normal = torch.randn(5000, 1, generator=torch.Generator().manual_seed(0))
    assert float(ranges(normal)) == pytest.approx(2 * 1.2816, abs=0.1)


def test_a_given_pool_is_used() -> None:
    own, other = pictures(60, 11, "own"), pictures(60, 12, "other")
    pool = Pool(Samples.concat([own, other]), torch.tensor([True] * 60 + [False] * 60))
    task = make_task()
    found = observed(task, PHRASES, pool=pool)
    assert found.n == 120
    margins = [float(task.classifier.logits(part)[:, 0].mean()) for part in (own, other)]
    assert found.gap == pytest.approx(margins[0] - margins[1], abs=1e-4)
