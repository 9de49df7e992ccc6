"""Dominant words: what a language model says most often about each image's features, and whether it is of the class.

After Taghanaki et al., TExplain, 2023, section on mitigation: images whose most frequent word is not of their class are
flagged, since a classifier may have learned that word instead.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from xcore.contract import Progress, Samples, TextDecoder
from xcore_texplain.habits import said_alike
from xcore_texplain.lexicon import Lexicon
from xcore_texplain.sentences import combined_seed, sample_sentences
from xcore_texplain.words import WordCounts, count_words

SENTENCES = 30
"""Sentences about each image."""
AT_ONCE = 64
"""Images between two reports of progress."""


@dataclass(frozen=True, eq=False)
class Described:
    """The sentences about n images, and how often each word is in them."""

    sentences: list[list[str]]
    counts: WordCounts

    def take(self, rows: Sequence[int]) -> Described:
        """Those about the images at these positions."""
        return Described([self.sentences[i] for i in rows], self.counts.take(rows))


def describe(decoder: TextDecoder, states: Tensor, images: Samples, n: int, seed: int, progress: Progress) -> Described:
    """Let the decoder say n sentences about each image, many images at once where the decoder can.

    The random numbers of an image depend on its pixels and the seed alone, as in `sample_sentences`.
    """
    together = getattr(decoder, "sample_each", None)
    if together is None:
        sentences = sample_sentences(decoder, states, images, n, seed, progress)
        return Described(sentences, count_words(sentences))
    pixels = [image.detach().cpu().contiguous().numpy().tobytes() for image in images.images]
    seeds = [combined_seed(seed, zlib.crc32(content)) for content in pixels]
    sentences = []
    for start in range(0, len(seeds), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        sentences += together(states[rows], n, seeds[rows])
        progress(min(start + AT_ONCE, len(seeds)), len(seeds), "images described")
    return Described(sentences, count_words(sentences))


@dataclass(frozen=True)
class Dominant:
    """The dominant words of one image."""

    word: str
    """The most frequent word; empty if nothing is said that tells images apart."""
    share: float
    """The share of the sentences that contain it, in [0, 1]."""
    foreign: str
    """The most frequent word that is not of the class; empty if there is none."""
    flagged: bool
    """Whether the most frequent word is not of the class."""


def dominant_words(
    counts: WordCounts, classes: Sequence[str], lexicon: Lexicon, only: Sequence[str] = ()
) -> list[Dominant]:
    """The dominant words of each image; equal frequencies go by the alphabet.

    Words that the decoder says alike about all images (`said_alike`) do not count, unless they are of the class.

    Parameters
    ----------
    counts
        Of n images.
    classes
        The class of each image.
    lexicon
        Which words are of a class.
    only
        Lemmas; if there are any, no other words than these and those of the class count.
    """
    alike, shares = said_alike(counts), counts.shares
    own = {
        cls: np.array([lexicon.is_own(word, cls) for word in counts.words], dtype=bool) for cls in sorted(set(classes))
    }
    telling = np.array([word not in alike and (not only or word in only) for word in counts.words], dtype=bool)
    found = []
    for row, cls in zip(shares, classes, strict=True):
        best = _most(row, own[cls] | telling)
        foreign = _most(row, telling & ~own[cls])
        word = counts.words[best] if best is not None else ""
        flagged = best is not None and not own[cls][best]
        found.append(
            Dominant(
                word=word,
                share=0.0 if best is None else float(row[best]),
                foreign="" if foreign is None else counts.words[foreign],
                flagged=flagged,
            )
        )
    return found


def _most(
    row: np.ndarray[tuple[int], np.dtype[np.float64]], among: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> int | None:
    """The place of the largest share among some words; None if none of them is said."""
    masked = np.where(among, row, -1.0)
    if not len(masked) or masked.max() <= 0:
        return None
    return int(masked.argmax())
