"""Completeness: how much of the model's accuracy the concepts' scores preserve.

Source: Yeh et al., On Completeness-aware Concept-Based Explanations in Deep Neural Networks (NeurIPS 2020), definition
3.1: the accuracy above chance of the model with activations that are recovered from concept scores alone, as a share of
the accuracy above chance of the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xcore.contract import NotApplicable, Probe, Run, Samples, Score
from xcore.models.codes import rows_of
from xcore_metrics.faithfulness.activations import directions_of, opened
from xcore_metrics.faithfulness.recovery_net import fit
from xcore_metrics.options import CompletenessOptions
from xcore_metrics.pools import of_other_classes

NAME = "completeness"
FEWEST = 10
"""Least number of training images for a score."""
BATCH = 64
"""Images in one batch of the recovery network."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of several classes, with the classifier's class index of each."""

    samples: Samples
    labels: Tensor


class Completeness:
    """Share of the model's balanced accuracy above chance that remains if the model sees concept scores only.

    The score of a concept is the scalar product of the activations with its direction of length 1, at each position (or
    of all activations, if positions do not share the direction). A network of two layers recovers the activations from
    the scores. It is fitted on training images, and the accuracy is measured on held-out images. 1 means that the
    scores preserve all that the model uses, 0 that they preserve nothing. The value may exceed 1 or be negative and is
    not clipped.

    `chance` is the same value for the same number of random directions: activations of random training images at random
    positions. If there are many directions, random ones preserve much too.
    """

    direction: Literal["higher"] = "higher"
    needs = frozenset({"directions"})

    def __init__(self, options: CompletenessOptions | None = None) -> None:
        self.options = options or CompletenessOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each explanation."""
        return [self._run(run) for run in runs]

    def _run(self, run: Run) -> Score:
        try:
            return self._score(run)
        except NotApplicable as error:
            return Score(NAME, reason=str(error))

    def _score(self, run: Run) -> Score:
        found = directions_of(run)
        probe = opened(run, found.layer)
        if not getattr(probe, "is_cut", True):
            raise NotApplicable(
                f"layer {found.layer!r} is no cut of the graph: the model has other information than its activations"
            )
        train, heldout = self._train(run), self._heldout(run)
        shown = tuple(probe.activations(heldout.samples.take(slice(1))).shape[1:])
        a, b = (self._rows(probe, x.samples, found.shared) for x in (train, heldout))

        def head(rows: Tensor) -> Tensor:
            if found.shared and probe.layout == "NCHW":
                rows = rows.transpose(1, 2)
            return probe.head(rows.reshape(len(rows), *shown))

        target = run.task.target
        own, recovered = Accuracies.of(run.task.classifier.logits(heldout.samples), heldout.labels, target), []
        if own.all - own.chance <= 0:
            raise NotApplicable(f"the model's own balanced accuracy ({own.all:.2f}) is not above chance")
        generator = torch.Generator().manual_seed(0)
        flat = a.flatten(0, 1)
        drawn = flat[torch.randperm(len(flat), generator=generator)[: len(found.vectors)]]
        lengths = drawn.norm(dim=1, keepdim=True)
        for vectors in (found.vectors, drawn / torch.where(lengths > 0, lengths, torch.ones_like(lengths))):
            net = fit(
                self._scores(a, vectors),
                a,
                train.labels,
                head,
                hidden=self.options.hidden,
                epochs=self.options.epochs,
                lr=self.options.lr,
                generator=torch.Generator().manual_seed(1),
            )
            with torch.no_grad():
                logits = torch.cat([head(net(self._scores(rows, vectors))) for rows in b.split(BATCH)])
            recovered.append(Accuracies.of(logits, heldout.labels, target))
        kept, random = recovered
        details = {
            "chance": random.share(own),
            "accuracy": kept.all,
            "model_accuracy": own.all,
            "chance_accuracy": own.chance,
            "target_accuracy": kept.target,
            "model_target_accuracy": own.target,
            "classes": float(len(heldout.labels.unique())),
            "train_images": float(len(train.labels)),
            "heldout_images": float(len(heldout.labels)),
            "concepts": float(len(found.vectors)),
        }
        if own.target > 0.5:
            details["target_share"] = (kept.target - 0.5) / (own.target - 0.5)
            details["target_share_chance"] = (random.target - 0.5) / (own.target - 0.5)
        variant = found.layer + ("" if self.options.beta is None else f" beta {self.options.beta:g}")
        return Score(NAME, value=kept.share(own), variant=variant, n=len(heldout.labels), details=details)

    @staticmethod
    def _rows(probe: Probe, samples: Samples, shared: bool) -> Tensor:
        a = probe.activations(samples)
        return rows_of(a, probe.layout) if shared else a.flatten(1)[:, None, :]

    def _scores(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """(n, P, k) concept scores of activations (n, P, C)."""
        scores = rows @ vectors.T
        if self.options.beta is None:
            return scores
        lengths = rows.norm(dim=-1, keepdim=True)
        scores = torch.where(scores > self.options.beta * lengths, scores, torch.zeros_like(scores))
        norms = scores.norm(dim=-1, keepdim=True)
        return scores / torch.where(norms > 0, norms, torch.ones_like(norms))

    def _train(self, run: Run) -> LabelledImages:
        drawn = run.task.data.samples(None, "train", self.options.train, run.cell.data_seed)
        images = with_labels(drawn, run.task.data.classes, run)
        if len(images.labels) < FEWEST:
            raise NotApplicable(
                f"{len(images.labels)} labelled training images are too few to fit the recovery network"
            )
        if len(images.labels.unique()) < 2:
            raise NotApplicable("the data set gives labelled training images of fewer than two classes")
        return images

    def _heldout(self, run: Run) -> LabelledImages:
        """Held-out images of the class, and of the other classes from the held-out random sets."""
        if run.cell.contrast is not None and run.cell.contrast != run.cell.data:
            raise NotApplicable(
                f"held-out images of other classes come from the contrast data set {run.cell.contrast}, which is not "
                "the data set of the class"
            )
        others = of_other_classes(run.heldout_random_set, self.options.others)
        rest = with_labels(others, run.task.data.classes, run)
        own = torch.full((len(run.heldout),), run.task.target)
        if not len(rest.labels):
            raise NotApplicable("there are no labelled held-out images of other classes")
        return LabelledImages(Samples.concat([run.heldout, rest.samples]), torch.cat([own, rest.labels]))


@dataclass(frozen=True)
class Accuracies:
    """Balanced accuracies, each in [0, 1]: means over classes of the share of correctly classified images."""

    all: float
    """Over all classes."""
    target: float
    """Of separating the target class from all others; chance is 1/2."""
    chance: float
    """Chance level of `all`: 1 / number of classes."""

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, target: int) -> Accuracies:
        """From logits (n, classes) and labels (n,); classes without images are ignored."""
        predicted = logits.argmax(1)
        right = [float((predicted[labels == c] == c).double().mean()) for c in labels.unique()]
        is_target, predicted_target = labels == target, predicted == target
        halves = [
            float((predicted_target[part] == is_target[part]).double().mean()) for part in (is_target, ~is_target)
        ]
        return cls(sum(right) / len(right), sum(halves) / 2, 1 / len(right))

    def share(self, own: Accuracies) -> float:
        """Accuracy above chance, as a share of that of the model itself."""
        return (self.all - own.chance) / (own.all - own.chance)


def with_labels(samples: Samples, classes: Sequence[str], run: Run) -> LabelledImages:
    """The samples whose label is the name of a class of the classifier; raises `NotApplicable` without labels."""
    if samples.labels is None:
        raise NotApplicable("the data set gives no labels")
    known = {c: i for i, c in enumerate(run.task.classifier.classes)}
    index = [known.get(classes[int(label)], -1) for label in samples.labels]
    rows = [i for i, label in enumerate(index) if label >= 0]
    return LabelledImages(samples.take(rows), torch.tensor([index[i] for i in rows], dtype=torch.long))


def completeness(options: CompletenessOptions | None = None) -> Completeness:
    """The metric completeness."""
    return Completeness(options)
