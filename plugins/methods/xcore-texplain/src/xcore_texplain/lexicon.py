"""Words of a class: those that describe the class itself, so that they are no shortcut. Light at import."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from xcore.contract import UsageError, unknown
from xcore.inputs.words import lemma, words

SHORTEST = 4
"""Fewest letters of a word that a class name may end with and be of its kind: bird in waterbird, fish in clownfish."""


class Lexicon:
    """Class -> the words that are of the class.

    They are the lemmas of the class's name and of its other names, words that the name ends with (the head of a
    compound: a waterbird is a bird, and no water), and what a file says.

    Parameters
    ----------
    given
        Class -> further words; ``"*"`` stands for every class.
    aliases
        Class -> its other names, such as synonyms.
    """

    def __init__(
        self, given: Mapping[str, Sequence[str]] | None = None, aliases: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._given, self._aliases = dict(given or {}), dict(aliases or {})

    def own(self, cls: str) -> frozenset[str]:
        """The lemmas of the words that are of a class, as far as they are named."""
        texts = [cls, *self._aliases.get(cls, ()), *self._given.get(cls, ()), *self._given.get("*", ())]
        return frozenset(lemma(word) for text in texts for word in words(text.replace("_", " ")))

    def is_own(self, word: str, cls: str) -> bool:
        """Whether a lemma is of a class."""
        own = self.own(cls)
        return word in own or (len(word) >= SHORTEST and any(name.endswith(word) for name in own))


def read_lexicon(file: str, classes: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None) -> Lexicon:
    """The lexicon of a JSON file: class -> list of words, ``"*"`` for every class. Without a file, that of the names.

    Raises
    ------
    UsageError
        There is no such file, it holds something else, or it names a class that is not there.
    """
    if not file:
        return Lexicon({}, aliases)
    example = 'a lexicon reads {"waterbird": ["bird", "duck"], "*": ["white"]}'
    try:
        given = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the lexicon {file!r}: {error.strerror}", "name a JSON file; " + example
        ) from error
    except ValueError as error:
        raise UsageError(f"the lexicon {file!r} is no JSON: {error}", example) from error
    if not isinstance(given, dict) or not all(
        isinstance(row, list) and all(isinstance(word, str) for word in row) for row in given.values()
    ):
        raise UsageError(f"the lexicon {file!r} does not map classes to lists of words", example)
    for cls in given:
        if cls != "*" and cls not in classes:
            raise unknown(f"class in the lexicon {file}:", cls, classes)
    return Lexicon(given, aliases)
