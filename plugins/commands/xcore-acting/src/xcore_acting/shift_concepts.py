"""Concepts with samples of their own, scored by TCAV in two classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xcore.contract import Concept, Explainer, NotApplicable, Purpose, RandomSet, Samples, Task
from xcore_acting.shift_rows import Change, Shift

TEST = "t test of the mean paired difference over the explained samples"


def by_concepts(finder: Explainer, scorer: Explainer, a: Task, b: Task, method: str) -> Shift:
    """Score the same concepts in both classifiers, and compare them sample by sample.

    Parameters
    ----------
    finder
        The method that names or finds concepts in A.
    scorer
        TCAV. If `finder` is it, the concepts are those that its options name; otherwise they are the samples of the
        concepts that `finder` finds in A.
    a, b
        The tasks of both classifiers.
    method
        Name of `finder`.

    Raises
    ------
    NotApplicable
        The method found fewer than two concepts with samples, or TCAV cannot score them.
    """
    notes: list[str] = []
    if type(finder) is not type(scorer):
        a.progress(0, 3, f"{method} explains A")
        concepts = _named(finder.explain(a).concepts)
        notes.append(f"{len(concepts)} concepts are those that {method} finds in A; their samples are scored by TCAV")
        a, b = (_given(task, concepts) for task in (a, b))
    a.progress(1, 3, "concepts in A")
    first = {c.name: c for c in scorer.explain(a).concepts}
    a.progress(2, 3, "concepts in B")
    explanation = scorer.explain(b)
    second = {c.name: c for c in explanation.concepts}
    a.progress(3, 3, "done")
    both = [name for name in first if name in second]
    shown = {name: first[name].samples for name in both}
    return Shift(
        changes=tuple(_change(name, first[name], second[name]) for name in both),
        unit="mean over the explained samples of the sensitivity along the mean CAV, over the mean gradient norm",
        test=TEST,
        n=len(a.samples),
        of="explained samples",
        shown=lambda name: None if (found := shown[name]) is None else found.take(slice(4)),
        notes=(
            *notes,
            "the intervals are over the explained samples; the samples of the concepts and the random sets are the "
            "same for both classifiers, and their choice is not in the intervals",
        ),
    )


def _change(name: str, a: Concept, b: Concept) -> Change:
    """The change of a concept in the explained samples, each of which has a part in it."""
    if a.local is None or b.local is None:
        own = [(c.importance, c.evidence.get("lo", nan), c.evidence.get("hi", nan)) for c in (a, b)]
        return Change(name, own[0], own[1], (b.importance - a.importance, nan, nan), 1.0)
    before, after = a.local.double().numpy(), b.local.double().numpy()
    mean, lo, hi = interval(after - before)
    error = float((after - before).std(ddof=1) / np.sqrt(len(before))) if len(before) > 1 else 0.0
    p = float(2 * stats.t.sf(abs(mean / error), len(before) - 1)) if error > 0 else 1.0
    return Change(name, interval(before), interval(after), (mean, lo, hi), p)


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean of n values and its 95 % t interval, which is nan for less than two values."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, nan, nan
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def _named(concepts: Sequence[Concept]) -> dict[str, Concept]:
    """Concepts that have samples, each under a name of its own."""
    found: dict[str, Concept] = {}
    for concept in concepts:
        if concept.samples is None or len(concept.samples) < 2:
            continue
        name = concept.name
        number = 2
        while name in found:
            name, number = f"{concept.name} ({number})", number + 1
        found[name] = concept
    if len(found) < 1:
        raise NotApplicable("the method found no concept that has samples", "name another with --method")
    return found


def _given(task: Task, concepts: Mapping[str, Concept]) -> Task:
    """The task with these concepts, and with random sets that are rendered as their samples are."""
    renders = {c.render.partition("+")[0] for c in concepts.values()}
    render = renders.pop() if len(renders) == 1 else "as-is"
    samples = {name: c.samples for name, c in concepts.items() if c.samples is not None}
    return replace(task, concepts=samples, random_set=_Rendered(task.random_set, render))


@dataclass(frozen=True)
class _Rendered:
    """Random sets that are all rendered in one way."""

    inner: RandomSet
    how: str

    def __call__(self, n: int, index: int, render: str = "as-is", purpose: Purpose = "negative") -> Samples:
        return self.inner(n, index, self.how, purpose)
