"""The text that names a concept, and the texts that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xcore_evidence.phrases import without_class_name

from xcore.contract import Concept, NotApplicable, Run, Score
from xcore.inputs.everyday import EVERYDAY
from xcore_metrics.asking.ranks import Floats

SEED = 0
"""Of the order in which phrases of the vocabulary are taken: all explanations of a class get the same ones."""


def text_of(concept: Concept, vocabulary: tuple[str, ...]) -> str:
    """The text of a concept: its first word or phrase, which is the surest one, else its name if it is a phrase.

    Raises
    ------
    NotApplicable
        It has no words, and its name is no phrase of the vocabulary.
    """
    if concept.words:
        return concept.words[0]
    if concept.name in vocabulary:
        return concept.name
    raise NotApplicable("the concept has no words")


def vocabulary_of(run: Run) -> tuple[str, ...]:
    """The phrases of the data set, or everyday visual attributes where it has none; without the name of the class."""
    return without_class_name(run.task.vocabulary or EVERYDAY, run.task.target_name)


def texts_of(run: Run) -> list[str | NotApplicable]:
    """The text of each concept, or why there is none."""
    vocabulary, found = vocabulary_of(run), list[str | NotApplicable]()
    for concept in run.explanation.concepts:
        try:
            found.append(text_of(concept, vocabulary))
        except NotApplicable as reason:
            found.append(reason)
    return found


def unscored(metric: str, texts: Sequence[str | NotApplicable], reason: NotApplicable) -> list[Score]:
    """Why no concept has a score: a line for each of them, or one for an explanation without concepts."""
    return [Score(metric, i, reason=str(reason)) for i in range(len(texts))] or [Score(metric, reason=str(reason))]


def random_phrases(run: Run, most: int) -> tuple[str, ...]:
    """Up to `most` phrases of the vocabulary in a random order, the same for all explanations."""
    vocabulary = vocabulary_of(run)
    order = np.random.default_rng(SEED).permutation(len(vocabulary))[:most]
    return tuple(vocabulary[i] for i in order)


def others_than(concept: Concept, text: str, texts: tuple[str, ...]) -> list[int]:
    """Indices of the texts that are not words of this concept.

    Raises
    ------
    NotApplicable
        There are none.
    """
    own = {text, *concept.words}
    found = [i for i, other in enumerate(texts) if other not in own]
    if not found:
        raise NotApplicable(
            f"there is no other text than {text!r} to compare with", "give the data set a vocabulary of more phrases"
        )
    return found


def null_details(value: float, null: Floats) -> dict[str, float]:
    """What a score by other texts says of a score: the null's mean and 95 % range, and one-sided p-values by rank."""
    lo, hi = np.quantile(null, (0.025, 0.975))
    j = len(null) + 1
    return {
        "null_mean": float(null.mean()),
        "null_lo": float(lo),
        "null_hi": float(hi),
        "null_texts": float(len(null)),
        "p": float((1 + (null >= value).sum()) / j),
        "p_against": float((1 + (null <= value).sum()) / j),
    }
