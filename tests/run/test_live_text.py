"""`xcore.explain` on texts: lists of strings, their words, and what is refused."""

from __future__ import annotations

import pytest
import torch

import xcore
from xcore.contract import UsageError
from xcore.inputs.arrays import as_samples
from xcore.inputs.everyday import EVERYDAY
from xcore.models.classifiers import TorchClassifier
from xcore.run.drawing import FEW_WORDS, drawn_phrases, few_words_note
from xcore.run.live import live_task

WORDS = ("good", "bad", "film")


class Bag(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(3, 4)
        self.out = torch.nn.Linear(4, 2)

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.hidden(counts)))


def task(samples, tmp_path, vocabulary=(), contrast=None):
    def count(texts):
        return torch.tensor([[text.split().count(w) for w in WORDS] for text in texts]).float()

    made, _ = live_task(
        TorchClassifier(Bag(), ("no", "yes"), preprocess=count, modality="text", default_layer="hidden"),
        samples,
        "yes",
        contrast=contrast,
        layer="",
        seed=0,
        generator=None,
        models={},
        vocabulary=vocabulary,
        artifacts=tmp_path,
    )
    return made


def test_the_words_of_the_texts_are_the_seeds_and_those_of_all_texts_the_random_words(tmp_path):
    made = task(["a good film", "the film"], tmp_path, contrast=["a bad film", "bad"])
    assert made.samples.texts == ("a good film", "the film")
    assert made.samples.ids == ("text/0", "text/1")
    assert made.vocabulary == ("film", "good")
    assert made.data.vocabulary == ("film", "bad", "good")
    assert made.random_set(1, 0, "as-is").texts in {("a bad film",), ("bad",)}


def test_given_words_are_drawn_besides_and_the_words_of_the_texts_stay_the_seeds(tmp_path):
    made = task(["a good film"], tmp_path, vocabulary=("bad",))
    assert made.vocabulary == ("film", "good")
    assert made.data.vocabulary == ("bad", "film", "good")


def test_texts_without_a_word_of_content_have_the_given_words_as_seeds(tmp_path):
    assert task(["so what?"], tmp_path, vocabulary=("bad",)).vocabulary == ("bad",)


def test_few_words_are_joined_by_everyday_ones_and_many_are_not():
    few, many = ("good", "film"), tuple(f"word{i}" for i in range(FEW_WORDS))
    assert drawn_phrases(few, "text", ("bad",)) == (*few, "bad", *EVERYDAY)
    assert drawn_phrases(many, "text", ("bad",)) == many
    assert drawn_phrases(few, "text", many) == (*few, *many)
    assert drawn_phrases(few, "image", many) == few
    assert few_words_note(many, many) == []
    assert few_words_note(few, drawn_phrases(few, "text"))[0].startswith(
        "the data have only 2 words to draw random lists of"
    )


def test_one_string_is_one_text():
    assert as_samples("a good film").texts == ("a good film",)


def test_the_name_of_a_file_is_no_text(tmp_path):
    (tmp_path / "review.txt").write_text("a good film")
    with pytest.raises(UsageError, match="is the name of a file, and this classifier reads texts"):
        as_samples(str(tmp_path / "review.txt"), "text")


def test_samples_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UsageError, match="the classifier reads texts, but 'samples' are images"):
        task(torch.rand(2, 3, 4, 4), tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"samples": []}, "samples is an empty list"),
        ({"samples": ["a film", 5]}, "text 1 is of type int"),
        ({"contrast": []}, "contrast is an empty list"),
        ({"contrast": torch.rand(2, 3, 4, 4)}, "'contrast' are images"),
        ({"vocabulary": "good"}, "must be a list of strings"),
        ({"vocabulary": ["good", 1]}, "must be a list of strings"),
    ],
)
def test_what_cannot_be_right_is_one_line(changed, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        task(**{"samples": ["a good film"], "tmp_path": tmp_path, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, "the seed is -1"),
        ({"seed": "a"}, "the seed is 'a'"),
        ({"seed": 2**70}, "the seed is"),
        ({"target": 0.5}, "the target is a float"),
        ({"models": {"nonsense": None}}, "unknown role 'nonsense'"),
    ],
)
def test_wrong_requests_are_one_line(changed, message):
    def count(texts):
        return torch.tensor([[text.split().count(w) for w in WORDS] for text in texts]).float()

    model = TorchClassifier(Bag(), ("no", "yes"), preprocess=count, modality="text")
    with pytest.raises(UsageError, match=message):
        xcore.explain("tcav", model, ["a good film"], **{"target": "yes", **changed})
