"""Removal in texts: the words of concepts, taken out of the explained texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from xcore.errors import NotApplicable
from xcore.protocols import Classifier, Run
from xcore.samples import Samples
from xcore.types import Concept
from xcore.words import WORD, words
from xcore_metrics.faithfulness.game import Game
from xcore_metrics.faithfulness.orders import Floats, Ints, Sets

EMPTY = "."
"""What a text becomes if nothing is left of it: some tokenizers make no token at all of an empty string."""
LENGTH = 2**12
"""Numbers that one text is taken to hold, so that no more than a thousand are made at once."""

Phrase = tuple[str, ...]


def word_games(run: Run, filler: str, texts: int, local: bool) -> list[WordGame]:
    """One game for each of the first explained texts in which a concept occurs, over the concepts that do.

    A concept's words are its name and `Concept.words`, split and compared as `xcore.words` does, whatever their case; a
    phrase of several words occurs where they follow one another. Removing a set of concepts takes all their words away,
    so a word that two of them share goes with the first; inserting a set puts its words into the text without the words
    of any concept.

    Raises
    ------
    NotApplicable
        For samples that are no texts, or if no concept occurs in any.
    """
    samples, concepts = run.task.samples, run.explanation.concepts
    if samples.kind != "text":
        raise NotApplicable("words are words of texts")
    samples = samples.take(slice(texts))
    phrases = [phrases_of(c) for c in concepts]
    own = [c.local.double().numpy() for c in concepts if c.local is not None and len(c.local) >= len(samples)]
    games = []
    for i, text in enumerate(samples.texts):
        taken = occurrences(words(text), phrases)
        there = np.flatnonzero(taken.any(1))
        if not len(there):
            continue
        importance = np.array([[concepts[j].importance for j in there]], dtype=np.float64)
        order = np.arange(len(there), dtype=np.int64)[None]
        if local and len(own) == len(concepts):
            importance = np.array([[own[j][i] for j in there]])
            order = np.argsort(-importance, axis=1, kind="stable")
        games.append(_game(run, text, taken[there], filler, order, importance))
    if not games:
        raise NotApplicable("no word of a concept occurs in the explained texts")
    return games


def phrases_of(concept: Concept) -> set[Phrase]:
    """The name and words of a concept, split into words; one with a digit, such as ``noise 1``, is a mere label."""
    told = (concept.name, *concept.words)
    return {p for t in told if not any(c.isdigit() for c in t) and (p := tuple(words(t)))}


def occurrences(text: Sequence[str], phrases: Sequence[set[Phrase]]) -> Sets:
    """(k, T) which of the T words of a text are part of a phrase of each of k concepts."""
    found, known = np.zeros((len(phrases), len(text)), dtype=np.bool_), set(text)
    for j, own in enumerate(phrases):
        for phrase in own:
            if known.issuperset(phrase):
                size = len(phrase)
                for start in range(len(text) - size + 1):
                    if tuple(text[start : start + size]) == phrase:
                        found[j, start : start + size] = True
    return found


@dataclass(eq=False)
class WordGame(Game):
    """The concepts that occur in one text.

    Parameters
    ----------
    spans
        Where each of its T words begins and ends.
    taken
        (k, T) words of each concept.
    filler
        What is put in the place of a removed word; "" = nothing.
    """

    classifier: Classifier
    text: str
    spans: Sequence[tuple[int, int]]
    taken: Sets
    filler: str

    @property
    def size(self) -> int:
        return LENGTH

    def inserted(self, sets: Sets) -> Floats:
        return self._answers(sets, True)

    def ask(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        gone = sets.astype(np.int64) @ self.taken > 0
        gone = self.taken.any(0) & ~gone if insert else gone
        texts = tuple(self.without(row) for row in gone)
        return self.classifier.logits(Samples("text", texts, tuple(map(str, range(len(texts))))))

    def without(self, gone: Sets) -> str:
        """The text without these words (T,); untouched if there are none."""
        if not gone.any():
            return self.text
        left, at = "", 0
        for (start, end), out in zip(self.spans, gone, strict=True):
            if out:
                left, at = left + self.text[at:start] + self.filler, end
        return " ".join((left + self.text[at:]).split()) or EMPTY


def _game(run: Run, text: str, taken: Sets, filler: str, order: Ints, importance: Floats) -> WordGame:
    return WordGame(
        order=order,
        importance=importance,
        target=run.task.target,
        classifier=run.task.classifier,
        text=text,
        spans=[match.span() for match in WORD.finditer(text)],
        taken=taken,
        filler=filler,
    )
