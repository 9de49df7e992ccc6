"""Words of sentences: what counts as a word, how often each word is said, and how certain these figures are."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcore.inputs.words import STOPWORDS, lemma, words
from xcore.session import write_text

Array = NDArray[np.float64]
LEVEL = (0.025, 0.975)
"""Quantiles at the ends of the 95 % intervals."""
Bound = float | None
"""One end of an interval, or None where there is no interval: resampling a single image always gives the same image."""


def content_lemmas(sentence: str, drop: frozenset[str] = frozenset()) -> frozenset[str]:
    """The lemmas of a sentence that carry content, each once: no stop words, two letters or more.

    Parameters
    ----------
    sentence
        The sentence, in English.
    drop
        Further lemmas to leave out.
    """
    lemmas = {lemma(word) for word in words(sentence) if word not in STOPWORDS}
    return frozenset(w for w in lemmas if len(w) > 1 and w not in STOPWORDS and w not in drop)


def lemmas_of(texts: Iterable[str]) -> frozenset[str]:
    """The lemmas of all words of these texts, such as the words that a user asks to leave out."""
    return frozenset(lemma(word) for text in texts for word in words(text))


def most_frequent_forms(sentences: Iterable[str]) -> dict[str, str]:
    """Map each lemma to the form that the sentences use most often (stripe: striped); ties go by the alphabet."""
    forms = Counter(word for sentence in sentences for word in words(sentence))
    found: dict[str, str] = {}
    for word in sorted(forms, key=lambda w: (-forms[w], w)):
        found.setdefault(lemma(word), word)
    return found


@dataclass(frozen=True, eq=False)
class WordCounts:
    """In how many of the sentences about each image a word occurs.

    Parameters
    ----------
    words
        W lemmas in alphabetical order.
    counts
        (N, W) number of the sentences about image i that contain word j.
    sentences
        (N,) number of sentences about each image.
    """

    words: tuple[str, ...]
    counts: Array
    sentences: Array

    @property
    def shares(self) -> Array:
        """(N, W) in [0, 1]: share of the sentences about an image that contain the word."""
        return self.counts / np.maximum(self.sentences, 1)[:, None]

    def shares_of(self, words: Sequence[str]) -> Array:
        """(N, len(words)) in [0, 1]: the shares of these words; zero for a word that no sentence contains."""
        place = {word: i for i, word in enumerate(self.words)}
        out = np.zeros((len(self.sentences), len(words)))
        known = [(j, place[word]) for j, word in enumerate(words) if word in place]
        if known:
            here, there = map(list, zip(*known, strict=True))
            out[:, here] = self.shares[:, there]
        return out

    def take(self, rows: Sequence[int]) -> WordCounts:
        """The counts of the images at these positions."""
        return WordCounts(self.words, self.counts[list(rows)], self.sentences[list(rows)])


def count_words(sentences: Sequence[Sequence[str]], drop: frozenset[str] = frozenset()) -> WordCounts:
    """Count the sentences about each image that contain a word; the order of the sentences does not matter.

    Parameters
    ----------
    sentences
        The sentences about each image.
    drop
        Lemmas to leave out, beside stop words.
    """
    found = [Counter(w for text in texts for w in content_lemmas(text, drop)) for texts in sentences]
    words = tuple(sorted(set().union(*found))) if found else ()
    counts = np.array([[one[w] for w in words] for one in found], dtype=float).reshape(len(found), len(words))
    return WordCounts(words, counts, np.array([len(texts) for texts in sentences], dtype=float))


def joined(parts: Sequence[WordCounts]) -> WordCounts:
    """The counts of the images of all parts, one part after another."""
    words = tuple(sorted({word for part in parts for word in part.words}))
    place = {word: i for i, word in enumerate(words)}
    counts = np.zeros((sum(len(part.sentences) for part in parts), len(words)))
    row = 0
    for part in parts:
        counts[row : row + len(part.sentences), [place[word] for word in part.words]] = part.counts
        row += len(part.sentences)
    return WordCounts(words, counts, np.concatenate([part.sentences for part in parts]))


@dataclass(frozen=True)
class Word:
    """The figures of one word. Shares are in [0, 1]; intervals are 95 % intervals over resampled images."""

    word: str
    freq: float
    """Mean over the images of the share of their sentences that contain the word."""
    lo: Bound
    hi: Bound
    shuffled: float
    """The same mean for features of images of all classes (the shuffled prior)."""
    mean: float
    """Share of the sentences about the mean feature that contain the word."""
    over: float
    """freq - shuffled."""
    over_lo: Bound
    over_hi: Bound
    lift_shuffled: float
    """Ratio of `freq` to `shuffled`, each with half a sentence added."""
    lift_lo: Bound
    lift_hi: Bound
    lift_mean: float
    """Ratio of `freq` to `mean`, each with half a sentence added."""

    @property
    def evidence(self) -> dict[str, float]:
        """All figures by name, without the bounds of intervals that do not exist."""
        return {k: v for k, v in vars(self).items() if k != "word" and v is not None}


def compare_with_prior(
    own: WordCounts, shuffled: WordCounts, mean: WordCounts, resamples: int, seed: int
) -> list[Word]:
    """Compare every word of a class with the language prior; the word with the largest difference comes first.

    The frequency of a word is the mean of its shares over the images. Lifts are ratios of frequencies with half a
    sentence added on both sides, so that the lift of a word that the prior never says is finite.

    Parameters
    ----------
    own
        Counts of the sentences about the images of the class.
    shuffled
        Counts of the sentences about features of images of all classes.
    mean
        Counts of the sentences about the mean feature.
    resamples
        Bootstrap resamples. The images of the class and those of the prior are resampled independently, and intervals
        are percentiles over the resamples. A side with fewer than two images has no interval.
    seed
        Seed of the resamples.
    """
    words = own.words
    a, b, c = own.shares_of(words), shuffled.shares_of(words), mean.shares_of(words).mean(0)
    rng = np.random.default_rng([seed, 3])
    own_means, prior_means = _resampled_means(a, resamples, rng), _resampled_means(b, resamples, rng)
    sizes = [float(counts.sentences.sum()) for counts in (own, shuffled, mean)]
    f, g = a.mean(0), b.mean(0)
    lo, hi = _interval_bounds(own_means, a)
    over_lo, over_hi = _interval_bounds(own_means - prior_means, a, b)
    lift_lo, lift_hi = _interval_bounds(_lift(own_means, prior_means, sizes[0], sizes[1]), a, b)
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
    rows = [Word(w, **{name: _number(values[i]) for name, values in figures.items()}) for i, w in enumerate(words)]
    return sorted(rows, key=lambda row: (-row.over, row.word))


@dataclass(frozen=True)
class Change:
    """How much more often a second group of images is described with a word than a first group.

    Shares are in [0, 1]; the interval is a 95 % interval of the difference over resampled images.
    """

    word: str
    before: float
    """Mean share of the sentences about the first group that contain the word."""
    after: float
    """The same of the second group."""
    change: float
    """after - before."""
    lo: Bound
    hi: Bound

    @property
    def sure(self) -> bool:
        """Whether the difference has an interval and this interval excludes zero."""
        return self.lo is not None and self.hi is not None and (self.lo > 0 or self.hi < 0)


def compare_groups(before: WordCounts, after: WordCounts, resamples: int = 1000, seed: int = 0) -> list[Change]:
    """Compare the words of two groups of images; the word that the second group gains most comes first.

    There are no intervals if a group has fewer than two images.
    """
    words = sorted({*before.words, *after.words})
    a, b = before.shares_of(words), after.shares_of(words)
    rng = np.random.default_rng([seed, 4])
    low, high = _interval_bounds(_resampled_means(b, resamples, rng) - _resampled_means(a, resamples, rng), a, b)
    f, g = a.mean(0), b.mean(0)
    sides = zip(f.tolist(), g.tolist(), (g - f).tolist(), low, high, strict=True)
    rows = [Change(w, *side) for w, side in zip(words, sides, strict=True)]
    return sorted(rows, key=lambda row: (-row.change, row.word))


def write_table(rows: Sequence[Word] | Sequence[Change], path: Path) -> Path:
    """Write the figures of all words as a CSV file; bounds of intervals that do not exist are left empty."""
    fields: list[Mapping[str, Any]] = [vars(row) for row in rows]
    head = list(fields[0]) if fields else ["word"]
    lines = [",".join(head), *(",".join(_cell(row[name]) for name in head) for row in fields)]
    write_text(path, "\n".join(lines) + "\n")
    return path


def read_table(path: Path) -> list[Word]:
    """Read the words that `write_table` wrote."""
    with open(path, encoding="utf-8", newline="") as file:
        return [Word(row.pop("word"), **{k: _number(v) for k, v in row.items()}) for row in csv.DictReader(file)]


def _resampled_means(shares: Array, resamples: int, rng: np.random.Generator) -> Array:
    """(resamples, W) means over rows that are drawn with replacement."""
    n = len(shares)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    return np.asarray(weights @ shares)


def _interval_bounds(drawn: Array, *shares: Array) -> tuple[Sequence[Bound], Sequence[Bound]]:
    """Bounds of the intervals of W words from resampled figures (resamples, W); None where a side has one image."""
    if min(map(len, shares)) < 2:
        nothing = [None] * drawn.shape[1]
        return nothing, nothing
    low, high = np.quantile(drawn, LEVEL, axis=0).tolist()
    return low, high


def _lift(f: Array, g: Array, own: float, other: float) -> Array:
    """Ratio of the shares f of `own` sentences and g of `other` sentences, each with half a sentence added."""
    return np.asarray((f * own + 0.5) / (own + 1) / ((g * other + 0.5) / (other + 1)))


def _number(figure: Any) -> Any:
    """A figure as a Python float; None for a bound that does not exist, which a table leaves empty."""
    return None if figure is None or figure == "" else float(figure)


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{float(value):.5g}"
