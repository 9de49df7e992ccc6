"""Seed prompts from answers: what is asked, what is counted, what becomes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_rlpo.options import Options
from xcore_rlpo.seed_prompts import QUESTIONS, ask, choose, lemmas, merged, names_something
from xcore_rlpo.testing import RED_GREEN_BLUE as NAMES
from xcore_rlpo.testing import ColourAnswers

from xcore.contract import MissingError, NotApplicable, Samples, Task, UsageError


class Words:
    """Unit vectors for phrases: each new first word has an axis of its own; "near" phrases lie close to the first."""

    name = "words"

    def __init__(self, liked: str = "") -> None:
        self.liked = liked

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        axes = {w: i for i, w in enumerate(dict.fromkeys(t.split()[0] for t in texts if t.split()[0] != "near"))}
        rows = torch.zeros(len(texts), 32)
        for row, text in zip(rows, texts, strict=True):
            first, *rest = text.split()
            row[axes[rest[0] if first == "near" else first]] = 1.0
            if first == "near":
                row[31] = 0.1
        self.axes = axes
        return rows

    def embed_images(self, images: Samples) -> Tensor:
        rows = torch.full((len(images), 32), 0.01)
        if self.liked:
            rows[:, self.axes[self.liked]] = 1.0
        return rows


def stripes(n: int = 2) -> Samples:
    """Columns of patches: red, green, blue; the last row of each column is of the next colour."""
    images = torch.full((n, 3, 7, 8), 0.1)
    for column in range(3):
        images[:, column, :4, 2 * column : 2 * column + 2] = 0.9
        images[:, (column + 1) % 3, 4:6, 2 * column : 2 * column + 2] = 0.9
    return Samples("image", images, tuple("abcdefgh"[:n]))


@pytest.fixture
def task(seed_task: Callable[..., Task]) -> Callable[..., Task]:
    def make(model: Any, embedder: Any = None, cls: str = "other", n: int = 2, **more: Any) -> Task:
        models = {"image-text": embedder or Words()} | ({"vqa": model} if model else {})
        return seed_task(stripes(n), models, cls, ("gold",), **more)

    return make


def test_every_patch_of_every_image_is_asked_every_question_column_by_column() -> None:
    model, reported = ColourAnswers(), list[int]()
    counts = ask(model, stripes(), ("q1", "q2"), 3, reported.append)
    assert [row[0] for row in model.asked] == [f"{i}#patch{p}" for i in "ab" for p in range(9) for _ in range(2)]
    assert [row[1] for row in model.asked] == ["q1", "q2"] * 18
    column_major = ["red", "red", "green", "green", "green", "blue", "blue", "blue", "red"]
    assert [row[2] for row in model.asked[:18:2]] == column_major
    assert counts == {"red": 12, "green": 12, "blue": 12}
    assert (list(counts), reported) == (["red", "green", "blue"], [2])
    assert len(QUESTIONS) == 7


def test_several_images_are_asked_about_at_once_and_counted_as_one_by_one() -> None:
    several, single, reported = ColourAnswers(), ColourAnswers(), list[int]()
    counts = ask(several, stripes(8), ("q1", "q2"), 3, reported.append)
    assert reported == [7, 8]  # 7 images have 63 patches
    for i in range(8):
        ask(single, stripes(8).take([i]), ("q1", "q2"), 3)
    assert several.asked == single.asked
    assert sum(counts.values()) == 8 * 9 * 2


def test_a_model_that_leaves_answers_out_is_named() -> None:
    class Short(ColourAnswers):
        def answer(self, images: Samples, questions: Sequence[str]) -> list[str]:
            return super().answer(images, questions)[1:]

    with pytest.raises(UsageError, match="gave 17 answers to 18 questions"):
        ask(Short(), stripes(1), ("q1", "q2"), 3)


def test_forms_of_one_phrase_are_one_under_the_most_frequent() -> None:
    counts = {"grass": 4, "stripe": 2, "black and white": 3, "stripes": 3, "Striped": 1, "grasses": 1, "sky": 5}
    got = merged(counts)
    assert got == {"stripes": 6, "grass": 5, "sky": 5, "black and white": 3}
    assert list(got) == ["stripes", "sky", "grass", "black and white"], "ties in the order before merging"
    assert sum(got.values()) == sum(counts.values())
    assert merged({"stripe": 2, "stripes": 2}) == {"stripe": 4}
    assert lemmas("The zebra's Stripes!") == lemmas("the zebra's stripe")


@pytest.mark.parametrize("text", ["", " ", "none", "None.", "NOTHING", "...", "3"])
def test_answers_that_name_nothing(text: str) -> None:
    assert not names_something(text)
    assert names_something("nothing else")


def test_answers_are_cleaned_merged_counted_and_ranked(task: Callable[..., Task]) -> None:
    script = {
        ("red", QUESTIONS[0]): "Zebra stripes",
        ("green", QUESTIONS[0]): "stripe",
        ("blue", QUESTIONS[0]): "stripes",
        ("red", QUESTIONS[1]): "none",
        ("green", QUESTIONS[2]): "",
        ("blue", QUESTIONS[3]): "near blue",
    }
    model = ColourAnswers(script)
    got = choose(task(model, Words("stripe"), "zebra"), Options())
    assert len(model.asked) == 2 * 9 * 7
    # in this order of frequency: red 30, green 30, blue 30, stripe(s) 12, near blue 6 (one with blue)
    assert got.phrases == ("stripe", "red", "green", "blue")
    assert sum(got.prior or ()) == pytest.approx(1), "the softmax is over what is left"
    assert got.notes == (
        "seed prompts come from 126 answers about 2 images: "
        "12 name nothing, 6 contain the class name, 5 phrases are left",
    )
    assert choose(task(model, Words("stripe"), "zebra"), Options(actions=2)).phrases == ("stripe", "red")


def test_the_more_frequent_of_two_near_phrases_stays_even_if_the_other_is_liked_more(task: Callable[..., Task]) -> None:
    class Liking(Words):
        def embed_images(self, images: Samples) -> Tensor:
            rows = super().embed_images(images)
            rows[:, 31] = 1.0
            return rows

    seldom = {("red", q): "near green" for q in QUESTIONS[:2]}
    assert "near green" not in choose(task(ColourAnswers(seldom), Liking()), Options()).phrases
    often = {("green", q): "near green" for q in QUESTIONS[:6]}
    assert choose(task(ColourAnswers(often), Liking()), Options()).phrases[0] == "near green"


def test_how_many_images_and_what_else_is_asked(task: Callable[..., Task], refused: Callable[..., None]) -> None:
    model, notes = ColourAnswers(), list[str]()
    made = task(model, n=5, progress=lambda step, total, note="": notes.append(note))
    choose(made, Options(vqa_images=3, vqa_grid=1, questions=("what is the gender?", QUESTIONS[0])))
    assert len(model.asked) == 3 * 8
    assert {row[0] for row in model.asked} == {"a#patch0", "b#patch0", "c#patch0"}
    assert model.asked[7][1] == "what is the gender?"
    assert notes[-1] == "asked about 3 of 3 images"
    refused({"questions": ["why?", "why?"]}, r"'questions'.*'why\?' is given twice")


def test_auto_asks_where_a_model_is_given(task: Callable[..., Task]) -> None:
    assert set(choose(task(ColourAnswers()), Options()).phrases) == set(NAMES)
    assert choose(task(ColourAnswers()), Options(seeds="vocabulary")).phrases == ("gold",)
    assert choose(task(None), Options()) == choose(task(None), Options(seeds="vocabulary"))
    assert choose(task(ColourAnswers()), Options(prompts=("gold",))).phrases == ("gold",)


def test_errors_name_what_is_missing(task: Callable[..., Task]) -> None:
    with pytest.raises(MissingError, match=r"role 'vqa' \(name one with --model vqa=REF"):
        choose(task(None), Options(seeds="vqa"))
    dumb = ColourAnswers({(c, q): "none" for c in NAMES for q in QUESTIONS})
    with pytest.raises(
        MissingError, match=r"no seed prompts \(126 answers about 2 images: 126 name nothing, 0 contain"
    ):
        choose(task(dumb), Options())
    zebra = ColourAnswers({(c, q): "a Zebra" for c in NAMES for q in QUESTIONS})
    with pytest.raises(MissingError, match="126 contain the class name, 0 phrases are left"):
        choose(task(zebra, cls="zebra"), Options())
    texts = replace(task(ColourAnswers()), samples=Samples("text", ("x",), ("x",)))
    with pytest.raises(NotApplicable, match="asks about images"):
        choose(texts, Options(seeds="vqa"))
