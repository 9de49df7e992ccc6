"""Labels of texts that a classifier spells otherwise are matched, and the matches are counted in a note."""

from __future__ import annotations

import torch

from xcore.models.classifiers import TorchClassifier
from xcore.run.data import class_names, match_notes


class Texts:
    def __init__(self, *classes: str) -> None:
        self.classes = classes


def classifier(*classes: str) -> TorchClassifier:
    return TorchClassifier(torch.nn.Linear(2, len(classes)), classes, modality="text")


def notes(data: tuple[str, ...], *classes: str) -> list[str]:
    model = classifier(*classes)
    return match_notes(class_names(Texts(*data), model), model)  # type: ignore[arg-type]


def test_the_same_names_need_no_note() -> None:
    assert notes(("negative", "positive"), "negative", "positive") == []


def test_other_spellings_and_indices_are_counted() -> None:
    assert notes(("NEGATIVE", "1"), "negative", "positive") == [
        "2 of 2 classes of the data are classes of the classifier, 2 of them under another name: "
        "'NEGATIVE' is 'negative', '1' is 'positive'"
    ]


def test_what_matches_none_is_named_with_the_nearest() -> None:
    assert notes(("negativ", "positive", "Hund"), "negative", "positive") == [
        "1 of 3 classes of the data are classes of the classifier; it has none called 'negativ' (nearest: 'negative'), "
        "'Hund'"
    ]


def test_numbers_that_begin_at_one_show_as_one_that_is_left_over() -> None:
    assert notes(("1", "2"), "negative", "positive") == [
        "1 of 2 classes of the data are classes of the classifier, 1 of them under another name: '1' is 'positive'; "
        "it has none called '2'"
    ]
