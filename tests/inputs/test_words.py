"""How texts are split into words."""

from __future__ import annotations

import pytest

from xcore.inputs.words import content_words, lemma, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don’t re-read 3 of 4 <b>films</b>!", ["don't", "re-read", "of", "b", "films", "b"]),
        ("caf\u00e9 cafe\u0301", ["café", "café"]),
        ("हिन्दी फ़िल्म", ["हिन्दी", "फ़िल्म"]),
        ("สวัสดี 😀\ufe0f", ["สวัสดี"]),
        ("", []),
    ],
)
def test_words(text, found):
    assert words(text) == [normal(word) for word in found]


def normal(word):
    from unicodedata import normalize

    return normalize("NFC", word)


def test_content_words_come_by_the_number_of_texts():
    assert content_words(["the good film", "good good", "a film b"]) == ("film", "good")


def test_forms_of_a_word_have_one_lemma():
    assert [lemma(word) for word in ("stripes", "striped", "stripe", "zebra's", "grass")] == [
        *["stripe"] * 3,
        "zebra",
        "grass",
    ]
