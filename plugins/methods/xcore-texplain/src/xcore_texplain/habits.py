"""Habits of a language model: words that it says whatever it reads, measured by the prior and not listed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xcore_texplain.words import Word, WordCounts

AS_OFTEN = 1.25
"""A word is said as often about the class as in the prior if the interval of its lift lies within 1 / 1.25 to 1.25,
the usual bounds of equivalence."""
ALIKE = 0.1
"""A word is said alike whatever is read if the image explains less than this of whether a sentence contains it."""
SHOWN = 12
"""Words in the note."""


def without_habits(
    words: Sequence[Word], shuffled: WordCounts, is_own: Callable[[str], bool]
) -> tuple[list[Word], list[Word]]:
    """Tell the words of a class from the habits of the language model.

    A word is a habit if it is said about all images of the prior alike (see `said_alike`), and about the class
    as often as in the prior: the 95 % interval of its lift lies within 1 / 1.25 to 1.25. Words of the class itself are
    none, and over a single image, which has no interval, there are none.

    Parameters
    ----------
    words
        The figures of the words of a class.
    shuffled
        Counts of the sentences about images of all classes.
    is_own
        Lemma -> whether it is of the class.

    Returns
    -------
    The words without the habits, and the habits, both in the order of `words`.
    """
    alike = said_alike(shuffled)
    habits = [w for w in words if w.word in alike and _as_often(w) and not is_own(w.word)]
    names = {w.word for w in habits}
    return [w for w in words if w.word not in names], habits


def said_alike(counts: WordCounts) -> frozenset[str]:
    """The words that are said about equally often whatever image is read, such as "stand" or "painter".

    They say nothing about an image: what image it is explains less than `ALIKE` of whether a sentence contains them.
    """
    shares = zip(counts.words, explained_by_images(counts).tolist(), strict=True)
    return frozenset(word for word, share in shares if share < ALIKE)


def explained_by_images(counts: WordCounts) -> NDArray[np.float64]:
    """(W,) in [0, 1]: how much of whether a sentence contains a word is explained by the image that it is about.

    It is the variance of the word's share over images, less what drawing so few sentences adds, as a share of the
    variance over sentences: 0 for a word that is said about every image equally often, 1 for one that is in all
    sentences about some images and in none about the others. Over a single image it is 1: nothing can be said of it.
    """
    shares, n = counts.shares, np.maximum(counts.sentences, 2)[:, None]
    if len(shares) < 2:
        return np.ones(len(counts.words))
    drawn = (shares * (1 - shares) / (n - 1)).mean(0)
    mean = shares.mean(0)
    whole = mean * (1 - mean)
    between = np.clip(shares.var(0, ddof=1) - drawn, 0, None)
    return np.asarray(np.clip(np.divide(between, whole, out=np.zeros_like(whole), where=whole > 1e-12), 0, 1))


def habits_note(habits: Sequence[Word], least: float) -> list[str]:
    """The note that names the habits that are frequent enough to be shown, with their figures; none if there are none.

    Parameters
    ----------
    least
        Smallest share of the sentences, in [0, 1], of a word that would have been shown.
    """
    frequent = sorted((w for w in habits if w.freq >= least), key=lambda w: (-w.freq, w.word))
    if not frequent:
        return []
    named = [f"{w.word} {w.freq:.2f} (lift {w.lift_shuffled:.2f} [{w.lift_lo:.2f}, {w.lift_hi:.2f}])" for w in frequent]
    more = f", and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return [
        "left out, since the language model says them alike whatever it reads (share of sentences, lift over the "
        f"prior): {', '.join(named[:SHOWN])}{more}"
    ]


def _as_often(word: Word) -> bool:
    return (
        word.lift_lo is not None
        and word.lift_hi is not None
        and 1 / AS_OFTEN <= word.lift_lo <= word.lift_hi <= AS_OFTEN
    )
