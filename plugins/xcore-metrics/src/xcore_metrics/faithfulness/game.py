"""The class score with some concepts taken away or put in: what the metrics of removal ask the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from xcore.protocols import Classifier, Probe
from xcore.samples import Samples
from xcore_metrics.faithfulness.orders import Floats, Ints, Sets

NUMBERS = 2**22
"""Numbers of changed activations or pixels that are held at once (16 MB)."""

Key = tuple[bool, int, bytes]


@dataclass(eq=False)
class Game(ABC):
    """n samples and the k concepts that can be removed from each; answers are remembered.

    Parameters
    ----------
    order
        (n, k) concepts of each sample, most important first.
    importance
        (n, k) importance of each concept for each sample.
    target
        The class whose score is followed.
    """

    order: Ints
    importance: Floats
    target: int
    _known: dict[Key, tuple[float, float]] = field(default_factory=dict, init=False)

    def removed(self, sets: Sets) -> Floats:
        """(n, m, 2) logit and probability of the class with the concepts of these sets removed.

        Parameters
        ----------
        sets
            (m, k), the same for all samples, or (n, m, k).
        """
        return self._answers(sets, False)

    def inserted(self, sets: Sets) -> Floats:
        """(n, m, 2) logit and probability with only the concepts of these sets; `sets` as in `removed`."""
        return self._answers(~np.asarray(sets), False)

    @abstractmethod
    def ask(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        """(b, classes) logits of the samples ``rows`` (b,), each with its set (b, k) removed, or alone inserted."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Numbers that one changed sample takes."""

    def _answers(self, sets: Sets, insert: bool) -> Floats:
        n, k = self.order.shape
        full = np.broadcast_to(sets, (n, *sets.shape[-2:]))
        keys: list[Key] = [(insert, i, row.tobytes()) for i in range(n) for row in np.packbits(full[i], axis=-1)]
        flat = full.reshape(-1, k)
        new = {key: at for at, key in enumerate(keys) if key not in self._known}
        step = max(1, NUMBERS // self.size)
        places = np.fromiter(new.values(), dtype=np.int64, count=len(new))
        found = []
        for start in range(0, len(places), step):
            part = places[start : start + step]
            with torch.no_grad():
                logits = self.ask(torch.from_numpy(part // full.shape[1]), flat[part], insert).double()
            both = torch.stack([logits[:, self.target], logits.softmax(1)[:, self.target]], 1)
            found += both.tolist()
        self._known.update(zip(new, ((a, b) for a, b in found), strict=True))
        return np.array([self._known[key] for key in keys]).reshape(n, -1, 2)


@dataclass(eq=False)
class PixelGame(Game):
    """Concepts as regions of the image that share no pixel.

    Parameters
    ----------
    images, fill
        (n, 3, H, W) the images, and what removed pixels become.
    owner
        (n, H, W) the concept to which a pixel belongs; k for a pixel that belongs to none and always stays.
    """

    classifier: Classifier
    images: Tensor
    fill: Tensor
    owner: Tensor

    @property
    def size(self) -> int:
        return self.images[0].numel()

    def ask(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        gone = torch.cat([torch.from_numpy(sets), torch.zeros(len(rows), 1, dtype=torch.bool)], 1)
        owner = self.owner[rows]
        mask = gone.gather(1, owner.flatten(1)).view_as(owner)[:, None]
        x = torch.where(mask, self.fill[rows], self.images[rows])
        return self.classifier.logits(Samples("image", x, tuple(map(str, range(len(x))))))


@dataclass(eq=False)
class LinearGame(Game):
    """Concepts as vectors in the activations of one layer: removing a set S takes ``c M(S) V`` away.

    Parameters
    ----------
    start
        (n, P, C) activations with nothing removed.
    coordinates
        (n, P, k) what each sample has of each concept, at each of its P positions.
    vectors
        (k, C).
    matrix
        (set (k,), insert) -> (k, k).
    dual
        Whether inserting a set is the same as removing the others.
    back
        (b, P, C) -> activations in the layout of the probe.
    """

    probe: Probe
    samples: Samples
    start: Tensor
    coordinates: Tensor
    vectors: Tensor
    matrix: Callable[[Sets, bool], Floats]
    dual: bool
    back: Callable[[Tensor], Tensor]

    @property
    def size(self) -> int:
        return self.start[0].numel()

    def inserted(self, sets: Sets) -> Floats:
        return super().inserted(sets) if self.dual else self._answers(sets, True)

    def ask(self, rows: Tensor, sets: Sets, insert: bool) -> Tensor:
        different, which = np.unique(sets, axis=0, return_inverse=True)
        matrices = torch.from_numpy(np.stack([self.matrix(s, insert) for s in different])).float()
        take = torch.bmm(self.coordinates[rows], matrices[torch.from_numpy(which.reshape(-1))]) @ self.vectors
        like = None if getattr(self.probe, "is_cut", False) else self.samples.take(rows.tolist())
        return self.probe.head(self.back(self.start[rows] - take), like)
