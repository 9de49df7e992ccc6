"""The explainer `surrogate`: a linear model of named phrases that stands for the classifier, without its gradients."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xcore.contract import Concept, Cost, Explanation, Presence, Samples, Task
from xcore_evidence import chart
from xcore_evidence.edited import AT_ONCE as AT_ONCE_EDITED
from xcore_evidence.edited import edited, edits_read
from xcore_evidence.estimates import Evidence
from xcore_evidence.factorial import AT_ONCE, DRAWINGS, UNIT_TEXT, factorial, scenes_read
from xcore_evidence.observed import observed
from xcore_evidence.options import SurrogateOptions
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import OTHERS, Pool, enough_words, phrases_again, pool_of, presence
from xcore_evidence.showing import highest, pictured

IMPORTANCE_IS = {
    "observed": "effect on the margin of the class, in logits, given the other phrases",
    "factorial": "effect on the margin of the class in drawn scenes or changed texts, in logits",
    "edited": "effect on the margin of the class in edited pictures of it, in logits",
}


class Surrogate:
    """A linear concept surrogate: how named phrases move the margin of the class, given one another.

    The margin is the logit of the class less the logsumexp of the others. The classifier is asked for logits only. The
    option ``evidence`` says where samples come from in which the phrases vary: from the data, from scenes that are
    drawn (or texts that are changed) by random combinations of phrases, or from edits of the pictures of the class.

    Raises
    ------
    MissingError
        There are no phrases, or a generator or a model of the role image-text is missing.
    NotApplicable
        There are too few samples for so many phrases, no samples of other classes, or the margin is constant.
    """

    def __init__(self, options: SurrogateOptions | None = None) -> None:
        self.options = options or SurrogateOptions()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        how = "--set surrogate.phrases=a,b,c"
        phrases, notes = candidates(task, o.phrases, o.vocabulary, "surrogate.vocabulary", how)
        text, pool = task.samples.modality == "text", None
        if text or o.evidence == "observed":
            pool = pool_of(task, o.pool, o.samples)
        read = None if pool is None else presence(task, pool.samples, phrases)
        if read is not None and text and not o.phrases:
            phrases, read, few = enough_words(phrases, read, how)
            notes = (*notes, few)
        task.progress(0, 2, f"asking {o.evidence} evidence about {len(phrases)} phrases")
        evidence, found = self._evidence(task, phrases, pool, read)
        task.progress(1, 2, "showing the phrases")
        own = presence(task, task.samples, phrases) if found.read is not None else None
        concepts = [self._concept(evidence, i, found, own) for i in evidence.ranked()]
        files = {"bars.png": chart.bars(task.workdir / "bars.png", task.target_name, evidence)}
        if found.read is not None and found.samples.modality == "image":
            files["high-low.png"] = pictured(
                task.workdir / "high-low.png", phrases, evidence.ranked(), found.samples, found.read
            )
        task.progress(2, 2, "done")
        return Explanation(
            method="surrogate",
            target=task.target_name,
            importance_is=IMPORTANCE_IS[o.evidence],
            concepts=tuple(concepts),
            files=files,
            notes=(*summary(evidence, o.alpha), *evidence.notes, *notes),
            cost=Cost(
                seconds=time.perf_counter() - start,
                forwards=found.asked,
                generated=found.made,
            ),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """How strongly the phrases are present in other samples."""
        return phrases_again(explanation, task)

    def _evidence(
        self, task: Task, phrases: Sequence[str], pool: Pool | None, read: Tensor | None
    ) -> tuple[Evidence, Found]:
        """The evidence, and the samples behind it; `pool` has those of the data, None if they are drawn or edited."""
        o = self.options
        penalty = None if isinstance(o.penalty, str) else o.penalty
        marks: dict[str, Any] = {"alpha": o.alpha, "minimum": o.minimum}
        gap = len(task.samples) + OTHERS
        if o.evidence == "edited":
            made = edits_read(task, phrases, o.edits, o.at_once or AT_ONCE_EDITED, o.strength)
            evidence = edited(task, phrases, permutations=o.permutations, penalty=penalty, made=made, **marks)
            order = made.asked if made.read is None else made.read
            assert made.given is not None
            asked = evidence.n + len(made.given) + gap
            return evidence, Found(made.samples, made.read, order, asked=asked, made=evidence.n)
        if o.evidence == "observed":
            assert pool is not None
            assert read is not None
            evidence = observed(task, phrases, pool=pool, read=read, penalty=penalty, **marks)
            return evidence, Found(pool.samples, read, read, asked=evidence.n)
        at_once = o.at_once or AT_ONCE
        drawn = scenes_read(task, phrases, o.drawings or DRAWINGS, at_once) if pool is None else None
        evidence = factorial(
            task,
            phrases,
            drawings=o.drawings,
            at_once=at_once,
            permutations=o.permutations,
            penalty=penalty,
            drawn=drawn,
            **marks,
        )
        cost = {"asked": evidence.n + gap, "made": evidence.n}
        if drawn is not None:
            return evidence, Found(drawn.samples, drawn.read, drawn.asked if drawn.read is None else drawn.read, **cost)
        assert pool is not None
        assert read is not None
        return evidence, Found(pool.samples, read, read, **cost)

    def _concept(self, evidence: Evidence, i: int, found: Found, own: Tensor | None) -> Concept:
        """The concept of a phrase: the samples in which it is most present, and its part in each explained sample."""
        estimate = evidence.estimates[i]
        high = highest(found.order[:, i], self.options.shown)
        samples = found.samples.take(high)
        part = None
        if own is not None and found.read is not None:
            column = found.read[:, i]
            spread = 1.0 if evidence.unit == UNIT_TEXT else float(column.std(correction=0))
            part = (own[:, i] - float(column.mean())) / (spread or torch.inf) * estimate.effect
        return Concept(
            name=estimate.phrase,
            importance=estimate.effect,
            samples=Samples(samples.modality, samples.data, samples.ids),
            words=(estimate.phrase,),
            source=torch.full((len(high),), -1),
            local=None if part is None else part.float(),
            evidence=estimate.as_evidence(),
        )


@dataclass(frozen=True, eq=False)
class Found:
    """The samples behind the evidence."""

    samples: Samples
    read: Tensor | None
    """(n, k) presence of the phrases, in the unit of the effects; None if the effects are not of the presence."""
    order: Tensor
    """(n, k) the samples that show a phrase are those with the greatest numbers."""
    asked: int
    """Number of samples that the classifier was asked about."""
    made: int = 0
    """Number of pictures that the generator drew or edited, or of texts that were written."""


def summary(evidence: Evidence, alpha: float) -> list[str]:
    """What the evidence is, and how many phrases are marked, for the reader of an explanation."""
    raised = [e.phrase for e in evidence.estimates if e.mark > 0]
    lowered = [e.phrase for e in evidence.estimates if e.mark < 0]
    return [
        f"the effects are of one kind of evidence: {evidence.says} ({evidence.n} samples, unit: {evidence.unit})",
        f"of {len(evidence.estimates)} phrases {len(raised)} raise the class and {len(lowered)} lower it "
        f"(one-sided, Holm at {alpha:g} on each side)",
    ]
