"""What the core adds to an explanation that a method made."""

from __future__ import annotations

import math
from dataclasses import replace

from xcore.contract.protocols import Task
from xcore.contract.samples import Samples
from xcore.contract.types import Explanation


def completed(made: Explanation, task: Task) -> Explanation:
    """An explanation with what its task adds: the explained texts, and the notes on what the generator was given."""
    notes = (*made.notes, *getattr(task.generator, "notes", ()))
    return replace(made, explained=_explained_texts(task), notes=notes)


def _explained_texts(task: Task) -> Samples | None:
    """The explained texts with the probability that the classifier gives the class; None for images."""
    if task.samples.modality != "text":
        return None
    from xcore.models.outputs import probabilities, scores_of

    logits = task.classifier.logits(task.samples).double()
    found = probabilities(logits, scores_of(task.classifier))[:, task.target].tolist()
    probability = tuple(p if math.isfinite(p) else None for p in found)
    return Samples("text", task.samples.texts, task.samples.ids, meta={"probability": probability})
