"""The class score with some concepts removed or inserted: a cooperative game with concepts as players."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from xcore.contract import Classifier, Probe, Samples
from xcore.models.outputs import Scores, probabilities
from xcore_metrics.faithfulness.orders import Floats, Ints, Sets

MAX_ELEMENTS = 2**22
"""Tensor elements of the changed activations or pixels in one batch (16 MB)."""

Key = tuple[bool, int, bytes]
"""Whether the set is inserted, the index of the sample, and the set as bits."""


@dataclass(eq=False)
class Game(ABC):
    """n samples and the k concepts that can be removed from each; class scores are cached.

    Parameters
    ----------
    order
        (n, k) concepts of each sample, most important first.
    importance
        (n, k) importance of each concept for each sample.
    target
        Index of the class whose score is measured.
    scores
        What the logits are, from which probabilities follow.
    """

    order: Ints
    importance: Floats
    target: int
    scores: Scores = field(default="exclusive", kw_only=True)
    _cache: dict[Key, tuple[float, float]] = field(default_factory=dict, init=False)

    def removed(self, sets: Sets) -> Floats:
        """(n, m, 2) logit and probability of the class after the concepts of each set are removed.

        Parameters
        ----------
        sets
            (m, k) bool, the same sets for all samples, or (n, m, k).
        """
        return self._scores(sets, False)

    def inserted(self, sets: Sets) -> Floats:
        """(n, m, 2) logit and probability with only the concepts of each set left; `sets` as in `removed`."""
        return self._scores(~np.asarray(sets), False)

    @abstractmethod
    def logits(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        """(b, classes) logits of samples ``rows`` (b,) with their sets (b, k) removed, or alone left if `insert`."""

    @property
    @abstractmethod
    def elements(self) -> int:
        """Number of tensor elements of one changed sample."""

    def _scores(self, sets: Sets, insert: bool) -> Floats:
        n, k = self.order.shape
        full = np.broadcast_to(sets, (n, *sets.shape[-2:]))
        keys: list[Key] = [(insert, i, row.tobytes()) for i in range(n) for row in np.packbits(full[i], axis=-1)]
        flat = full.reshape(-1, k)
        new = {key: at for at, key in enumerate(keys) if key not in self._cache}
        step = max(1, MAX_ELEMENTS // self.elements)
        places = np.fromiter(new.values(), dtype=np.int64, count=len(new))
        scores: list[list[float]] = []
        for start in range(0, len(places), step):
            part = places[start : start + step]
            with torch.no_grad():
                logits = self.logits(torch.from_numpy(part // full.shape[1]), flat[part], insert).double()
            both = torch.stack([logits[:, self.target], probabilities(logits, self.scores)[:, self.target]], 1)
            scores += both.tolist()
        self._cache.update(zip(new, ((a, b) for a, b in scores), strict=True))
        return np.array([self._cache[key] for key in keys]).reshape(n, -1, 2)


@dataclass(eq=False)
class PixelGame(Game):
    """Concepts as regions of the image that share no pixel.

    Parameters
    ----------
    images, fill
        (n, 3, H, W) the images, and the pixels that replace removed ones.
    owner
        (n, H, W) index of the concept to which a pixel belongs; k for a pixel that belongs to none and always stays.
    """

    classifier: Classifier
    images: Tensor
    fill: Tensor
    owner: Tensor

    @property
    def elements(self) -> int:
        return self.images[0].numel()

    def logits(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        gone = torch.cat([torch.from_numpy(sets), torch.zeros(len(rows), 1, dtype=torch.bool)], 1)
        owner = self.owner[rows]
        mask = gone.gather(1, owner.flatten(1)).view_as(owner)[:, None]
        x = torch.where(mask, self.fill[rows], self.images[rows])
        return self.classifier.logits(Samples("image", x, tuple(map(str, range(len(x))))))


@dataclass(eq=False)
class LinearGame(Game):
    """Concepts as vectors in the activations of one layer: removing a set S subtracts ``c M(S) V``.

    Parameters
    ----------
    start
        (n, P, C) activations with nothing removed.
    coordinates
        (n, P, k) c: how much of each concept each sample has, at each of its P positions.
    vectors
        (k, C) V: the concepts' vectors.
    matrix
        (set (k,), insert) -> (k, k) M(S).
    complementary
        Whether inserting a set is the same as removing the other concepts.
    to_layout
        (b, P, C) -> activations in the layout of the probe.
    """

    probe: Probe
    samples: Samples
    start: Tensor
    coordinates: Tensor
    vectors: Tensor
    matrix: Callable[[Sets, bool], Floats]
    complementary: bool
    to_layout: Callable[[Tensor], Tensor]

    @property
    def elements(self) -> int:
        return self.start[0].numel()

    def inserted(self, sets: Sets) -> Floats:
        return super().inserted(sets) if self.complementary else self._scores(sets, True)

    def logits(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        different, which = np.unique(sets, axis=0, return_inverse=True)
        matrices = torch.from_numpy(np.stack([self.matrix(s, insert) for s in different])).float()
        take = torch.bmm(self.coordinates[rows], matrices[torch.from_numpy(which.reshape(-1))]) @ self.vectors
        like = None if getattr(self.probe, "is_cut", False) else self.samples.take(rows.tolist())
        return self.probe.head(self.to_layout(self.start[rows] - take), like)
