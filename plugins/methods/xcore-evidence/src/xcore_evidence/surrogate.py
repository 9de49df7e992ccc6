"""The explainer `surrogate`: a linear model of named phrases that stands for the classifier, without its gradients."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from xcore.contract import Concept, Cost, Explanation, Presence, Samples, Task
from xcore_evidence import chart
from xcore_evidence.estimates import Evidence
from xcore_evidence.observed import observed
from xcore_evidence.options import SurrogateOptions
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import Pool, pool_of, presence
from xcore_evidence.ridge import standardised

IMPORTANCE_IS = "effect on the margin of the class, in logits, given the other phrases"
PICTURED = 10
"""Phrases of which pictures are drawn in the file high-low.png: the first five and the last five."""
BESIDE = 4
"""Pictures on each side of it."""


class Surrogate:
    """A linear concept surrogate: the margin of the class regressed on the presence of named phrases.

    It asks the classifier for logits only, needs no generator, and explains texts as well as pictures. The margin is
    the logit of the class less the logsumexp of the others. Pictures need a model of the role image-text.

    Raises
    ------
    MissingError
        There are no phrases, or no model of the role image-text.
    NotApplicable
        There are too few samples for so many phrases, no samples of other classes, or the margin is constant.
    """

    def __init__(self, options: SurrogateOptions | None = None) -> None:
        self.options = options or SurrogateOptions()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        phrases, notes = candidates(task, o.phrases, o.vocabulary, "surrogate")
        task.progress(0, 3, "gathering samples of all classes")
        pool = pool_of(task, o.pool, o.samples)
        task.progress(1, 3, f"regressing the margin on {len(phrases)} phrases")
        penalty = None if isinstance(o.penalty, str) else o.penalty
        evidence = observed(task, phrases, pool=pool, penalty=penalty, alpha=o.alpha, minimum=o.minimum)
        task.progress(2, 3, "showing the phrases")
        read = presence(task, pool.samples, phrases)
        own = presence(task, task.samples, phrases)
        concepts = [self._concept(evidence, i, pool, read, own) for i in evidence.ranked()]
        files = {"bars.png": chart.bars(task.workdir / "bars.png", task.target_name, evidence)}
        if pool.samples.modality == "image":
            files["high-low.png"] = _pictured(task.workdir / "high-low.png", evidence, pool.samples, read)
        task.progress(3, 3, "done")
        return Explanation(
            method="surrogate",
            target=task.target_name,
            importance_is=IMPORTANCE_IS,
            concepts=tuple(concepts),
            files=files,
            notes=(*summary(evidence, o.alpha), *evidence.notes, *notes),
            cost=Cost(seconds=time.perf_counter() - start, forwards=len(pool.samples)),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """How strongly the phrases are present in other samples."""
        names = [c.name for c in explanation.concepts]
        text = task.samples.modality == "text"
        what = "whether the phrase occurs" if text else "100 x cosine of picture and phrase"
        return Presence(presence(task, task.samples, names).float(), what)

    def _concept(self, evidence: Evidence, i: int, pool: Pool, read: Tensor, own: Tensor) -> Concept:
        """The concept of a phrase: the samples in which it is most present, and its part in each explained sample."""
        estimate = evidence.estimates[i]
        high = _highest(read[:, i], self.options.shown)
        samples = pool.samples.take(high)
        spread, mean = float(read[:, i].std(correction=0)), float(read[:, i].mean())
        part = (own[:, i] - mean) / spread * estimate.effect if spread > 0 else torch.zeros(len(own))
        return Concept(
            name=estimate.phrase,
            importance=estimate.effect,
            samples=Samples(samples.modality, samples.data, samples.ids),
            words=(estimate.phrase,),
            source=torch.full((len(high),), -1),
            local=part.float(),
            evidence=estimate.as_evidence(),
        )


def summary(evidence: Evidence, alpha: float) -> list[str]:
    """What the evidence is, and how many phrases are marked, for the reader of an explanation."""
    raised = [e.phrase for e in evidence.estimates if e.mark > 0]
    lowered = [e.phrase for e in evidence.estimates if e.mark < 0]
    return [
        f"the effects are of one kind of evidence: {evidence.says} ({evidence.n} samples, unit: {evidence.unit})",
        f"of {len(evidence.estimates)} phrases {len(raised)} raise the class and {len(lowered)} lower it "
        f"(one-sided, Holm at {alpha:g} on each side)",
    ]


def _highest(values: Tensor, n: int) -> list[int]:
    order: list[int] = torch.argsort(values, descending=True, stable=True)[:n].tolist()
    return order


def _pictured(path: Path, evidence: Evidence, samples: Samples, read: Tensor) -> Path:
    """The picture of the phrases at both ends of the ranking."""
    order = evidence.ranked()
    shown = order if len(order) <= PICTURED else [*order[: PICTURED // 2], *order[-PICTURED // 2 :]]
    z = standardised(read).T
    high = [samples.images[_highest(z[i], BESIDE)] for i in shown]
    low = [samples.images[_highest(-z[i], BESIDE)] for i in shown]
    return chart.high_and_low(path, [evidence.estimates[i].phrase for i in shown], high, low)
