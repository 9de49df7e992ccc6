"""The network above the layer, the images on which it decides, and how well decisions are recovered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from xcore_craft.activations import SplitClassifier

from xcore.contract import Samples
from xcore.models.outputs import Scores

TINY, LEAST = 1e-12, -1e4
"""The least probability, and the least logarithm of one, so that a class that a network never gives adds 0, not NaN."""


@dataclass(frozen=True, eq=False)
class Part:
    """Images of all classes, those to learn from or those to measure on."""

    samples: Samples
    rows: Tensor
    """(n, P, C) activations at all positions."""
    truth: Tensor
    """(n, classes) in [0, 1]: the probabilities of the classes that are to be recovered; of labels 0 and 1."""

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, index: Tensor) -> Part:
        """These of the images."""
        return Part(self.samples.take(index.tolist()), self.rows[index], self.truth[index])

    def batches(self, size: int, steps: int, seed: int, start: int = 0) -> Iterator[Tensor]:
        """Indices of random images for the steps from `start` on; each pass through the images has its own order.

        The same seed gives the same batches, whichever step one starts at.
        """
        each = -(-len(self) // size)
        order, shuffled = np.zeros(0, dtype=np.int64), -1
        for step in range(start, steps):
            if step // each != shuffled:
                shuffled = step // each
                order = np.random.default_rng([seed, shuffled]).permutation(len(self))
            at = step % each * size
            yield torch.from_numpy(order[at : at + size])


@dataclass(frozen=True, eq=False)
class Head:
    """h, the network above the layer, with what is done to its activations."""

    split: SplitClassifier
    scores: Scores
    """What the numbers that it gives are; classes of "independent" scores are decided each on its own."""

    def read(self, rows: Tensor) -> Tensor:
        """Those of the rows on which the logits depend."""
        return self.split.read(rows)

    def logits(self, recovered: Tensor, part: Part, index: Tensor) -> Tensor:
        """Logits (m, classes) of the images `index`, whose rows that are read are replaced by the recovered ones."""
        unread = part.rows[:, recovered.shape[1] :]
        whole = torch.cat([recovered, unread[index]], 1) if unread.shape[1] else recovered
        return self.split.head(whole, part.samples.take(index.tolist()))

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy of the probabilities of the classes."""
        if self.scores == "independent":
            return -(truth * logsigmoid(logits) + (1 - truth) * logsigmoid(-logits)).mean()
        logs = logits.log_softmax(1) if self.scores == "exclusive" else logits.clamp_min(TINY).log()
        return -(truth * logs.clamp_min(LEAST)).sum(1).mean()

    def constant_loss(self, truth: Tensor) -> Tensor:
        """The least loss of probabilities that are the same for all images."""
        mean = truth.mean(0, keepdim=True).clamp(TINY, 1)
        logits = mean.logit(TINY) if self.scores == "independent" else mean.log()
        return self.loss(mean if self.scores == "probabilities" else logits, truth)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(n, classes)."""
        if self.scores == "probabilities":
            return logits
        return logits.softmax(1) if self.scores == "exclusive" else logits.sigmoid()

    def measure(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """How near probabilities (n, classes) are to the truth.

        Returns
        -------
        (1 + 2 classes,): the accuracy of the decisions, then for each class the share of its images that are taken for
        it (NaN where there are none), then the mean squared error of its probability.
        """
        decided, right = self._decisions(probabilities), self._decisions(truth)
        same = (decided == right).double()
        accuracy = same.mean() if self.scores == "independent" else same.amin(1).mean()
        recall = (decided & right).sum(0).double() / right.sum(0)
        errors = (probabilities - truth).double().square().mean(0)
        return torch.cat([accuracy[None], recall, errors])

    def knows_nothing(self, train: Part, measured: Part) -> Tensor:
        """What `measure` says of probabilities that are the same for all images: the mean of those to learn from."""
        mean = train.truth.mean(0)
        if self.scores != "independent":  # the commonest decision, rather than the largest mean probability
            common = self._decisions(train.truth).float().mean(0)
            decided = torch.zeros_like(mean)
            decided[common.argmax()] = 1
        else:
            decided = (self._decisions(train.truth).float().mean(0) > 0.5).float()
        by_decision = self.measure(decided.expand_as(measured.truth), measured.truth)
        errors = (mean - measured.truth).double().square().mean(0)
        return torch.cat([by_decision[: -len(errors)], errors])

    def _decisions(self, probabilities: Tensor) -> Tensor:
        if self.scores == "independent":
            return probabilities > 0.5
        return torch.eye(probabilities.shape[1], dtype=torch.bool)[probabilities.argmax(1)]
