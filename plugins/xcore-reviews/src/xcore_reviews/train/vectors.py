"""Word vectors from what words mean: mutual information with synonyms and definitions, reduced by an SVD."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import svds
from torch import Tensor

from xcore.words import STOPWORDS, words
from xcore_reviews.lexicon import GROUPS
from xcore_reviews.train.wordnet import glosses

IN_GROUP, IN_SYNSET, IN_GLOSS = 20.0, 5.0, 1.0
"""Weights of two words in one group of the world, of two synonyms, and of a word and one of its definition."""


def vectors(known: Sequence[str], wide: Mapping[str, tuple[str, ...]], width: int, seed: int = 0) -> Tensor:
    """(len(known), width) vectors, of mean squared length 1; words of which nothing is known stay 0.

    Levy and Goldberg, Neural Word Embedding as Implicit Matrix Factorization, NeurIPS 2014: PPMI and truncated SVD,
    with singular values to the power one half.
    """
    number = {w: i for i, w in enumerate(known)}
    pairs: Counter[tuple[int, int]] = Counter()

    def add(one: str, other: str, weight: float) -> None:
        if one in number and other in number and one != other:
            pairs[number[one], number[other]] += weight  # type: ignore[assignment]
            pairs[number[other], number[one]] += weight  # type: ignore[assignment]

    for members in GROUPS.values():
        for i, word in enumerate(members):
            for other in members[i + 1 :]:
                add(word, other, IN_GROUP)
    for word, near in wide.items():
        for other in near:
            add(word, other, IN_SYNSET)
    for meant, gloss in glosses():
        for other in set(words(gloss)) - STOPWORDS:
            for word in meant:
                add(word, other, IN_GLOSS)
    rows, columns = np.array(list(pairs)).T
    counts = np.array(list(pairs.values()))
    total, each = counts.sum(), np.bincount(rows, counts, len(known))
    pmi = np.maximum(np.log(counts * total / (each[rows] * each[columns] ** 0.75 * total**0.25)), 0)
    matrix = coo_matrix((pmi, (rows, columns)), shape=(len(known), len(known))).tocsr()
    u, s, _ = svds(matrix, k=width, random_state=seed)
    found = u[:, ::-1] * np.sqrt(s[::-1])
    found /= np.sqrt((found**2).sum(1).mean())
    return torch.from_numpy(np.ascontiguousarray(found)).float()
