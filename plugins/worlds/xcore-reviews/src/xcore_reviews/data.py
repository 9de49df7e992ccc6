"""The reviews as data sets. A review is written when samples are requested."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xcore.contract import MissingError, Modality, Samples, Split, Truth, UsageError, unknown
from xcore.inputs.class_names import counted
from xcore.inputs.words import STOPWORDS, words
from xcore_reviews.grammar import FACTS, FILLERS, OPINIONS, Review, about, adjectives, review
from xcore_reviews.lexicon import GROUPS
from xcore_reviews.plugin import DEFAULTS, WEIGHTS

CLASSES: Mapping[str, int] = {"negative": -1, "positive": 1}
SPLITS: tuple[Split, ...] = ("train", "explain", "heldout")
CONCEPTS = tuple(name for name in GROUPS if name not in STOPWORDS)
"""The named concepts: the groups of near-synonyms, each named by its first word."""


def vocabulary() -> tuple[str, ...]:
    """The content words of all reviews, in alphabetical order."""
    every = {w for template in (*OPINIONS, *FACTS) for w in words(re.sub(r"{\w+}", " ", template))}
    every |= {w for fillers in FILLERS.values() for w in fillers}
    every |= {w for thing in FILLERS["thing"] for w in adjectives(thing)}
    return tuple(sorted(every - STOPWORDS))


@cache
def english() -> tuple[str, ...]:
    """Frequent words of English that occur in no review, in alphabetical order.

    Random words are drawn from these and from the words of the reviews. Half of the words of the reviews praise or
    blame, so CAVs against random sets of these words alone would say little about a concept (see docs/text.md).
    """
    every: list[str] = json.loads((Path(__file__).parent / "english.json").read_text(encoding="utf-8"))
    return tuple(every)


def split_of(text: str) -> Split:
    """The split that a text belongs to. Its digest decides, so no two splits share a text."""
    return SPLITS[min(hashlib.sha256(text.encode()).digest()[0] // 64, 2)]


class Written:
    """Reviews as a data set (protocol `xcore.contract.Dataset`).

    Parameters
    ----------
    name
        Name of the data set, with which the ids start.
    signs
        Class -> -1 (its reviews blame), 1 (they praise) or 0 (they mix praise, blame and neither).
    """

    modality: Modality = "text"
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, name: str, signs: Mapping[str, int]) -> None:
        self.name, self._signs = name, signs
        self.classes: tuple[str, ...] = tuple(signs)
        self.concepts: tuple[str, ...] = CONCEPTS
        self.vocabulary: tuple[str, ...] = (*vocabulary(), *english())
        self.defaults: Mapping[str, str] = DEFAULTS

    def __repr__(self) -> str:
        return f"<data {self.name!r}, texts that are written when they are asked for, {counted(self.classes)}>"

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n reviews of a class (None = of all classes in turn); the first k of n are the same for every n."""
        import torch  # imported here, because a run that is only reported needs the names of the classes and no torch

        if cls is not None and cls not in self.classes:
            raise unknown(f"class of data set {self.name}:", cls, self.classes)
        if n < 0 or seed < 0:
            raise UsageError(f"cannot write {n} reviews with seed {seed}", "both numbers must be 0 or more")
        wanted = [cls or self.classes[i % len(self.classes)] for i in range(n)]
        texts = tuple(str(written(self._signs[c], split, i, seed)) for i, c in enumerate(wanted))
        ids = tuple(f"{self.name}/{split}/{cls or 'all'}/{seed}/{i}" for i in range(n))
        labels = torch.tensor([self.classes.index(c) for c in wanted], dtype=torch.long)
        return Samples("text", texts, ids, labels)

    def concept(self, name: str, n: int, seed: int) -> Samples:
        """n texts with a word of the group, each word in turn, and with no other word that praises or blames."""
        if name not in self.concepts:
            raise unknown(f"concept of data set {self.name}:", name, self.concepts)
        members, place = GROUPS[name], self.concepts.index(name)
        texts = tuple(
            str(about(members[i % len(members)], np.random.default_rng([seed, 9, place, i]))) for i in range(n)
        )
        return Samples("text", texts, tuple(f"{self.name}/concept/{name}/{seed}/{i}" for i in range(n)))

    def truth(self, classifier: str) -> Truth | None:
        """What a classifier of the reviews is known to use; None if that is not known.

        It is known of `reviews/textcnn`, and of ``textcnn:DIR`` and ``hf-text:DIR`` if there is a file DIR/truth.json.
        """
        if self._signs != CLASSES:
            return None
        provider, _, argument = classifier.partition(":")
        if provider in ("textcnn", "hf-text") and (Path(argument) / "truth.json").is_file():
            return read_truth(Path(argument) / "truth.json")
        shipped = classifier.removeprefix("xcore-reviews/") == "reviews/textcnn"
        return read_truth(WEIGHTS / "textcnn" / "truth.json") if shipped else None


def written(sign: int, split: Split, index: int, seed: int) -> Review:
    """The index-th review of a split: the first random review that belongs to it."""
    rng = np.random.default_rng([seed, SPLITS.index(split), sign + 1, index])
    while True:
        made = review(sign, rng)
        if split_of(str(made)) == split:
            return made


def read_truth(path: Path) -> Truth:
    """Read a truth table; raises `MissingError` if there is no such file."""
    if not path.is_file():
        raise MissingError(
            f"there is no truth table {str(path)!r}", "measure it with `python -m xcore_reviews.truth FOLDER`"
        )
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    effects = {c: {v: (e[0], e[1], e[2]) for v, e in values.items()} for c, values in table["effects"].items()}
    named = {word: frozenset({f"word={word}"}) for word in vocabulary()}
    return Truth(effects, table["gaps"], named, table["share"])


def reviews(options: None = None) -> Written:
    """Reviews that blame (class negative) or praise (class positive)."""
    return Written("reviews", CLASSES)


def random(options: None = None) -> Written:
    """Reviews that mix praise, blame and neither: the random sets of both classes are drawn from them."""
    return Written("reviews/random", {"random": 0})
