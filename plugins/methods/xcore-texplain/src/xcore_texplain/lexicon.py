"""Words of a class: those that describe the class itself, so that they are no shortcut. Light at import."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from xcore.contract import Classifier, Dataset, UsageError, unknown
from xcore.inputs.words import lemma, words

SHORTEST, SHORTEST_BEFORE = 4, 3
"""Fewest letters of the head of a compound, such as bird in waterbird, and of what stands before it."""


class Lexicon:
    """Class -> the words that are of the class.

    They are the lemmas of the class's name and of its other names, the heads of compounds among them, and what a file
    says. A word is the head of a compound if the compound ends with it, it has four letters or more, and what stands
    before it is an English word of three letters or more: a waterbird is a bird and no water, and a train is no rain.

    Parameters
    ----------
    given
        Class -> further words; ``"*"`` stands for every class. A word with a minus in front is not of the class, such
        as ``-room`` of a mushroom.
    aliases
        Class -> its other names, such as synonyms.
    """

    def __init__(
        self, given: Mapping[str, Sequence[str]] | None = None, aliases: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._given, self._aliases = dict(given or {}), dict(aliases or {})

    def own(self, cls: str) -> frozenset[str]:
        """The lemmas of the words that are of a class, as far as they are named."""
        return self._named(cls, "") - self._named(cls, "-")

    def is_own(self, word: str, cls: str) -> bool:
        """Whether a lemma is of a class."""
        if word in self._named(cls, "-"):
            return False
        own = self.own(cls)
        return word in own or any(is_head(word, name) for name in own)

    def _named(self, cls: str, mark: str) -> frozenset[str]:
        """The lemmas that are said to be of a class, or with the mark "-" not to be."""
        given = [word.strip() for word in (*self._given.get(cls, ()), *self._given.get("*", ()))]
        texts = [word.removeprefix("-") for word in given if word.startswith("-") == bool(mark)]
        if not mark:
            texts += [cls, *self._aliases.get(cls, ())]
        return frozenset(lemma(word) for text in texts for word in words(text.replace("_", " ")))


def is_head(word: str, compound: str) -> bool:
    """Whether a word is the head of a compound: bird of waterbird, but neither water of it nor rain of train."""
    before = compound.removesuffix(word)
    if len(word) < SHORTEST or before == compound or len(before) < SHORTEST_BEFORE:
        return False
    from simplemma import is_known  # imported here because loading its dictionary takes half a second

    return bool(is_known(before.strip("-'"), lang="en"))


def lexicon_of(file: str, classifier: Classifier, data: Dataset) -> Lexicon:
    """The lexicon of a file, or of the names alone, with the other names that a classifier and data have of a class.

    Raises
    ------
    UsageError
        As `read_lexicon` does; the file may name classes of both.
    """
    aliases: dict[str, tuple[str, ...]] = {}
    for known in (getattr(classifier, "aliases", None), getattr(data, "aliases", None)):
        for cls, others in (known or {}).items():
            aliases[cls] = (*aliases.get(cls, ()), *others)
    return read_lexicon(file, [*dict.fromkeys([*data.classes, *classifier.classes])], aliases)


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
