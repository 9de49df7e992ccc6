"""Checks of what methods and metrics return, before it is kept; and whether a metric applies at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xcore.base.errors import UsageError, XcoreError
from xcore.contract.protocols import Metric, Run, Task
from xcore.contract.samples import Samples
from xcore.contract.types import Explanation, Score


def check_target(task: Task) -> None:
    """Raise `UsageError` if the logit of the explained class is infinite for a sample: there is nothing to explain.

    Some classifiers, such as those that learn class by class, mask the logits of other classes so.
    """
    logits = task.classifier.logits(task.samples)[:, task.target]
    bad = (~logits.isfinite()).nonzero().flatten().tolist()
    if bad:
        value = float(logits[bad[0]])
        masked = "the classifier masks this class; explain one that it can predict"
        raise UsageError(
            f"the logit of class {task.target_name!r} is {value} for {len(bad)} of {len(logits)} "
            f"samples, first {task.samples.ids[bad[0]]!r}",
            masked if value < 0 else "check the classifier's weights and preprocessing",
        )


def checked(made: Any, label: str, samples: Samples) -> Explanation:
    """The explanation; raises `XcoreError` if it is none, holds numbers that are none, or maps of another shape."""
    if not isinstance(made, Explanation):
        raise XcoreError(f"method {label!r} returned {type(made).__name__}, not an Explanation")
    for i, concept in enumerate(made.concepts):
        where = f"concept {i} ({concept.name!r}) of method {label!r}"
        for what, number in (("importance", concept.importance), *concept.evidence.items()):
            if not math.isfinite(number):
                raise XcoreError(f"{where}: {what} is {number}")
        tensors = {
            "maps (kept as 16-bit floats)": None if concept.maps is None else concept.maps.half(),
            "local": concept.local,
            **{f"direction at {layer!r}": v for layer, v in concept.directions.items()},
        }
        for what, values in tensors.items():
            if values is not None and not bool(values.isfinite().all()):
                raise XcoreError(f"{where}: {what} holds numbers that are not finite")
        if concept.maps is not None and samples.modality == "image":
            wanted = (len(samples), *samples.images.shape[2:])
            if tuple(concept.maps.shape) != wanted:
                raise XcoreError(f"{where}: maps have shape {tuple(concept.maps.shape)}, the samples need {wanted}")
    return made


def checked_scores(scores: Sequence[Score]) -> list[Score]:
    """The scores; raises `XcoreError` if a number in them is none."""
    for score in scores:
        named = {"value": score.value, "spread": score.spread, **score.details}
        for what, number in named.items():
            if number is not None and not math.isfinite(number):
                where = "the explanation" if score.concept is None else f"concept {score.concept}"
                raise XcoreError(f"{score.metric} gives {where} the {what} {number}")
    return list(scores)


def not_applicable(metric: Metric, run: Run, kinds: Sequence[str] = ("image", "text")) -> str:
    """Why a metric for samples of these kinds does not apply to an explanation; empty if it does."""
    if run.heldout.modality not in kinds:
        return run.heldout.modality  # shown as it is, n/a (text)
    concepts = run.explanation.concepts
    shown = {c.samples.modality for c in concepts if c.samples is not None}
    for need in sorted(metric.needs):
        name, _, kind = need.partition(":")
        if name == "truth" and run.truth is None:
            return f"no truth table for {run.cell.classifier} on {run.cell.data}"
        if name == "samples" and (not shown or (kind and kind not in shown)):
            return f"its concepts have no samples that are {kind}s" if kind else "its concepts have no samples"
        if name in ("maps", "directions") and not any(_has(getattr(c, name)) for c in concepts):
            return f"its concepts have no {name}"
        if name == "dictionary" and run.explanation.dictionary is None:
            return "it has no dictionary"
    return ""


def _has(value: Any) -> bool:
    return value is not None and len(value) > 0
