"""Removing concepts in texts: the words of concepts are removed from the explained texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from xcore.contract import Classifier, Concept, NotApplicable, Run, Samples
from xcore.inputs.words import WORD, words
from xcore.models.outputs import scores_of
from xcore_metrics.faithfulness.game import Game
from xcore_metrics.faithfulness.orders import Floats, Ints, Sets

EMPTY = "."
"""What replaces a text of which nothing is left, because some tokenizers give no token for an empty string."""
ELEMENTS = 2**12
"""Assumed number of tensor elements of one text, so that a batch holds about a thousand texts."""

Phrase = tuple[str, ...]


def word_games(run: Run, filler: str, texts: int, local: bool) -> list[WordGame]:
    """One game for each of the first explained texts in which a concept occurs, with the concepts that occur in it.

    The words of a concept are its name and `Concept.words`, split and compared as `xcore.inputs.words` does, whatever
    their case. A phrase of several words occurs where they follow one another. Removing a set of concepts removes all
    their words, so a word that two concepts share is removed with the first of them. Inserting a set adds its words to
    the text without the words of any concept.

    Parameters
    ----------
    filler
        What replaces a removed word; "" = nothing.
    texts
        Number of explained texts, from the first.
    local
        Whether orders are by the importances for each text, where the explanation has them.

    Raises
    ------
    NotApplicable
        The samples are no texts, or no concept occurs in any of them.
    """
    samples, concepts = run.task.samples, run.explanation.concepts
    if samples.modality != "text":
        raise NotApplicable("the variant words is for texts only")
    samples = samples.take(slice(texts))
    phrases = [phrases_of(c) for c in concepts]
    own = [c.local.double().numpy() for c in concepts if c.local is not None and len(c.local) >= len(samples)]
    games = []
    for i, text in enumerate(samples.texts):
        taken = occurrences(words(text), phrases)
        present = np.flatnonzero(taken.any(1))
        if not len(present):
            continue
        importance = np.array([[concepts[j].importance for j in present]], dtype=np.float64)
        order = np.arange(len(present), dtype=np.int64)[None]
        if local and len(own) == len(concepts):
            importance = np.array([[own[j][i] for j in present]])
            order = np.argsort(-importance, axis=1, kind="stable")
        games.append(_game(run, text, taken[present], filler, order, importance))
    if not games:
        raise NotApplicable("no word of a concept occurs in the explained texts")
    return games


def phrases_of(concept: Concept) -> set[Phrase]:
    """The name and words of a concept, split into words; a name with a digit, such as ``noise 1``, is only a label."""
    phrases = (concept.name, *concept.words)
    return {p for t in phrases if not any(c.isdigit() for c in t) and (p := tuple(words(t)))}


def occurrences(text: Sequence[str], phrases: Sequence[set[Phrase]]) -> Sets:
    """(k, T) whether each of the T words of a text is part of a phrase of each of the k concepts."""
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
        Start and end of each of the T words.
    taken
        (k, T) whether each word belongs to each concept.
    filler
        What replaces a removed word; "" = nothing.
    """

    classifier: Classifier
    text: str
    spans: Sequence[tuple[int, int]]
    taken: Sets
    filler: str

    @property
    def elements(self) -> int:
        return ELEMENTS

    def inserted(self, sets: Sets) -> Floats:
        return self._scores(sets, True)

    def logits(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        gone = sets.astype(np.int64) @ self.taken > 0
        gone = self.taken.any(0) & ~gone if insert else gone
        texts = tuple(self.without(row) for row in gone)
        return self.classifier.logits(Samples("text", texts, tuple(map(str, range(len(texts))))))

    def without(self, gone: Sets) -> str:
        """The text without these words (T,); unchanged if there are none."""
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
        scores=scores_of(run.task.classifier),
        classifier=run.task.classifier,
        text=text,
        spans=[match.span() for match in WORD.finditer(text)],
        taken=taken,
        filler=filler,
    )
