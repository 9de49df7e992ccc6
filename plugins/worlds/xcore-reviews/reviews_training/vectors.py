"""Word vectors made from synonyms and definitions: their mutual information, reduced by a truncated SVD."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import svds
from torch import Tensor
from xcore_reviews.lexicon import GROUPS

from reviews_training.wordnet import glosses
from xcore.inputs.words import STOPWORDS, words

IN_GROUP, IN_SYNSET, IN_GLOSS = 20.0, 5.0, 1.0
"""Weight of two words of one group of the reviews, of two synonyms, and of a word and a word of its definition."""


def vectors(known: Sequence[str], wide: Mapping[str, tuple[str, ...]], width: int, seed: int = 0) -> Tensor:
    """Word vectors (len(known), width) of mean squared length 1; words without synonyms and definitions get zeros.

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
