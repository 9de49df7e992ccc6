"""What `Samples` refuses, and what tells samples apart."""

from __future__ import annotations

import pytest

from xcore.contract import Samples, UsageError


def texts(*data):
    return Samples("text", data, tuple(map(str, range(len(data)))))


def test_texts_are_strings_of_characters():
    with pytest.raises(UsageError, match="text 1 is of type int"):
        texts("a", 5)
    with pytest.raises(UsageError, match="text 0 holds lone surrogates"):
        texts("\ud83d")
    assert texts("", "😀", "\0").texts == ("", "😀", "\0")


def test_no_character_makes_two_texts_one():
    assert len({texts("a\0b").digest, texts("a", "b").digest, texts("ab").digest, texts("a\0", "b").digest}) == 4
