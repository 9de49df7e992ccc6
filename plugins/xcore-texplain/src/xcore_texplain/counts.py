"""Document frequencies of words: shares of sentences, per image and class, with intervals and lift over priors."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcore_texplain.words import content

Array = NDArray[np.float64]
LEVEL = (0.025, 0.975)
Bound = float | None
"""An end of an interval; None where there is no interval, since resampling a single image always gives the same."""


@dataclass(frozen=True, eq=False)
class Counted:
    """In how many of an image's sentences each word is."""

    words: tuple[str, ...]
    """In the order of the alphabet."""
    counts: Array
    """(N, W)"""
    sentences: Array
    """(N,) sentences of an image."""

    @property
    def shares(self) -> Array:
        """(N, W) in [0, 1]: share of an image's sentences with the word."""
        return self.counts / np.maximum(self.sentences, 1)[:, None]

    def of(self, words: Sequence[str]) -> Array:
        """(N, len(words)) shares of these words; zero for a word that was never said."""
        place = {word: i for i, word in enumerate(self.words)}
        out = np.zeros((len(self.sentences), len(words)))
        known = [(j, place[word]) for j, word in enumerate(words) if word in place]
        if known:
            here, there = map(list, zip(*known, strict=True))
            out[:, here] = self.shares[:, there]
        return out

    def take(self, rows: Sequence[int]) -> Counted:
        """The counts of these images."""
        return Counted(self.words, self.counts[list(rows)], self.sentences[list(rows)])


def count(said: Sequence[Sequence[str]], drop: frozenset[str] = frozenset()) -> Counted:
    """Count sentences per image; the order of sentences does not matter.

    Parameters
    ----------
    said
        Sentences of each image.
    """
    found = [Counter(w for sentence in sentences for w in content(sentence, drop)) for sentences in said]
    words = tuple(sorted(set().union(*found))) if found else ()
    counts = np.array([[one[w] for w in words] for one in found], dtype=float).reshape(len(found), len(words))
    return Counted(words, counts, np.array([len(sentences) for sentences in said], dtype=float))


@dataclass(frozen=True)
class Word:
    """What is known of one word; all shares in [0, 1], intervals of 95 % from resampled images."""

    word: str
    freq: float
    """Mean over images of the share of their sentences with the word."""
    lo: Bound
    hi: Bound
    shuffled: float
    """The same with the features of images of all classes."""
    mean: float
    """Share of the sentences about the mean feature."""
    over: float
    """freq - shuffled."""
    over_lo: Bound
    over_hi: Bound
    lift_shuffled: float
    lift_lo: Bound
    lift_hi: Bound
    lift_mean: float

    @property
    def evidence(self) -> dict[str, float]:
        """The figures by name, without those that are not there."""
        return {k: v for k, v in vars(self).items() if k != "word" and v is not None}


def weigh(own: Counted, shuffled: Counted, mean: Counted, resamples: int, seed: int) -> list[Word]:
    """Every word of a class beside the language prior, the one with the largest difference first.

    freq(w) is the mean over images of shares, lifts are ratios of frequencies with half a sentence added to both
    sides, so that a word that a prior never says has a finite lift. Intervals: percentiles over resampled images of the
    class and, independently, of the prior; none (`Bound`) of a side with fewer than two images.
    """
    words = own.words
    a, b, c = own.of(words), shuffled.of(words), mean.of(words).mean(0)
    rng = np.random.default_rng([seed, 3])
    one, two = _resampled(a, resamples, rng), _resampled(b, resamples, rng)
    sizes = [float(x.sentences.sum()) for x in (own, shuffled, mean)]
    f, g = a.mean(0), b.mean(0)
    lo, hi = _bounds(one, a)
    over_lo, over_hi = _bounds(one - two, a, b)
    lift_lo, lift_hi = _bounds(_lift(one, two, sizes[0], sizes[1]), a, b)
    figures: dict[str, Sequence[Any] | Array] = {
        "freq": f,
        "lo": lo,
        "hi": hi,
        "shuffled": g,
        "mean": c,
        "over": f - g,
        "over_lo": over_lo,
        "over_hi": over_hi,
        "lift_shuffled": _lift(f, g, sizes[0], sizes[1]),
        "lift_lo": lift_lo,
        "lift_hi": lift_hi,
        "lift_mean": _lift(f, c, sizes[0], sizes[2]),
    }
    rows = [Word(w, **{name: _plain(values[i]) for name, values in figures.items()}) for i, w in enumerate(words)]
    return sorted(rows, key=lambda row: (-row.over, row.word))


def read_table(path: Path) -> list[Word]:
    """Words from the CSV file of their figures."""
    with open(path, encoding="utf-8", newline="") as file:
        return [Word(row.pop("word"), **{k: _plain(v) for k, v in row.items()}) for row in csv.DictReader(file)]


@dataclass(frozen=True)
class Change:
    """A word in two groups; the interval is of the difference, 95 % from resampled images."""

    word: str
    before: float
    after: float
    change: float
    lo: Bound
    hi: Bound

    @property
    def sure(self) -> bool:
        """Whether there is an interval, and on one side of zero."""
        return self.lo is not None and self.hi is not None and (self.lo > 0 or self.hi < 0)


def compare(before: Counted, after: Counted, resamples: int = 1000, seed: int = 0) -> list[Change]:
    """Words by how much more the second group says them: gained first, lost last.

    There is no interval if a group has fewer than two images.
    """
    words = sorted({*before.words, *after.words})
    a, b = before.of(words), after.of(words)
    rng = np.random.default_rng([seed, 4])
    low, high = _bounds(_resampled(b, resamples, rng) - _resampled(a, resamples, rng), a, b)
    f, g = a.mean(0), b.mean(0)
    sides = zip(f.tolist(), g.tolist(), (g - f).tolist(), low, high, strict=True)
    rows = [Change(w, *side) for w, side in zip(words, sides, strict=True)]
    return sorted(rows, key=lambda row: (-row.change, row.word))


def _resampled(shares: Array, resamples: int, rng: np.random.Generator) -> Array:
    """(resamples, W) means over resampled rows."""
    n = len(shares)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    return np.asarray(weights @ shares)


def _bounds(drawn: Array, *shares: Array) -> tuple[Sequence[Bound], Sequence[Bound]]:
    """Ends of the intervals of W words, from resampled figures (resamples, W) of these images; none over one image."""
    if min(map(len, shares)) < 2:
        nothing = [None] * drawn.shape[1]
        return nothing, nothing
    low, high = np.quantile(drawn, LEVEL, axis=0).tolist()
    return low, high


def _plain(figure: Any) -> Any:
    """A figure as a number; None where there is none, which a table shows as nothing."""
    return None if figure is None or figure == "" else float(figure)


def _lift(f: Array, g: Array, own: float, other: float) -> Array:
    """Ratio of two shares of so many sentences, each with half a sentence added."""
    return np.asarray((f * own + 0.5) / (own + 1) / ((g * other + 0.5) / (other + 1)))
