"""The evidence of the same phrases in two classifiers, and the evidence of their difference.

The margin of a classifier that gives the logits (d, 0), with d the margin of B less that of A, is d. Every kind of
evidence is linear in the margin as long as its penalty is fixed, so that what such a classifier gives is the difference
of the effects, with an interval and a test that know that both saw the same samples, phrases and noise.

Training further makes all logits larger or smaller, and all effects with them. So effects are compared as shares of the
gap of the class, unless logits are wanted: each margin is divided by the gap of its classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from xcore_evidence.edited import AT_ONCE as AT_ONCE_EDITED
from xcore_evidence.edited import edited, edits_read
from xcore_evidence.estimates import Estimate, Evidence
from xcore_evidence.factorial import AT_ONCE, DRAWINGS, factorial, scenes_read
from xcore_evidence.margins import margin
from xcore_evidence.observed import observed, ranges
from xcore_evidence.options import SurrogateOptions
from xcore_evidence.phrases import candidates
from xcore_evidence.randomised import Made
from xcore_evidence.readings import occurrences, pool_of, presence

from xcore.contract import Classifier, NotApplicable, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier

OFTEN = 5
"""Texts in which a word must occur to be asked about, as in the method `surrogate`."""
SHOWN = 4
"""Samples that show a phrase in the picture."""
UNIT = "effect on the margin of a concept that goes from rarely to often present, as a share of the gap of the class"


@dataclass(frozen=True, eq=False)
class Compared:
    """Both classifiers and their difference, by one kind of evidence."""

    a: Evidence
    b: Evidence
    difference: Evidence
    scales: tuple[Sequence[float], Sequence[float], Sequence[float]]
    """What the effects of A, of B and of the difference are multiplied by, for each phrase."""
    unit: str
    phrases: tuple[str, ...]
    shown: Callable[[str], Samples | None]
    """Phrase -> a few samples in which it is most present; None where there are none."""
    notes: tuple[str, ...] = ()


class Difference:
    """A classifier of the class against all others, whose margin is that of B less that of A, each over its gap."""

    can: frozenset[str] = frozenset()
    layers: tuple[str, ...] = ()
    default_layer = ""

    def __init__(self, a: Classifier, b: Classifier, target: str, gaps: tuple[float, float] = (1.0, 1.0)) -> None:
        self.modality = a.modality
        self.classes: tuple[str, ...] = (target, f"not {target}")
        self.framing = getattr(a, "framing", None)
        self._ask = [(c, c.classes.index(target), gap) for c, gap in zip((a, b), gaps, strict=True)]

    def logits(self, x: Samples) -> Tensor:
        """(n, 2) the difference of the margins, and zeros, in double precision."""
        before, after = (margin(classifier.logits(x), target) / gap for classifier, target, gap in self._ask)
        return torch.stack([after - before, torch.zeros_like(before)], 1)

    open = FunctionClassifier.open  # a difference of two networks has no layers


def compare(task: Task, b: Classifier, options: SurrogateOptions, scale: str = "gap") -> Compared:
    """Compare the classifier of a task with another one by the evidence that the options of `surrogate` name.

    Parameters
    ----------
    task
        Explains classifier A.
    b
        Has the same classes, in any order.
    scale
        "gap" = effects are shares of the gap of the class, of a phrase that goes from rarely to often present; "logits"
        = they are as the evidence gives them.

    Raises
    ------
    UsageError
        The margins of both are the same for every sample.
    NotApplicable, MissingError
        As the kind of evidence raises them.
    """
    o, text = options, task.samples.modality == "text"
    how = "--phrases a,b,c"
    phrases, notes = candidates(task, o.phrases, o.vocabulary, "surrogate.vocabulary", how)
    pool = pool_of(task, o.pool, o.samples) if text or o.evidence == "observed" else None
    if pool is not None and text and not o.phrases:
        phrases = _often(pool.samples, phrases)
        notes = (
            *notes,
            f"{len(phrases)} words that occur in {OFTEN} or more of {len(pool.samples)} texts are asked about",
        )
    if o.evidence == "observed":
        assert pool is not None
        samples, read = pool.samples, presence(task, pool.samples, phrases)

        def ask(task: Task, penalty: float | None) -> Evidence:
            return observed(task, phrases, pool=pool, read=read, penalty=penalty, alpha=o.alpha)
    elif o.evidence == "factorial" and text:
        samples, read = None, None

        def ask(task: Task, penalty: float | None) -> Evidence:
            at_once = o.at_once or AT_ONCE
            return factorial(
                task, phrases, drawings=o.drawings, at_once=at_once, permutations=o.permutations, alpha=o.alpha
            )
    else:
        evidence, made = _made(task, phrases, o)
        samples, read = made.samples, made.read

        def ask(task: Task, penalty: float | None) -> Evidence:
            return evidence(task, penalty, made)

    name = task.target_name
    task.progress(0, 3, f"{o.evidence} evidence about {len(phrases)} phrases in A")
    first = ask(task, None if o.penalty == "cv" else o.penalty)
    penalty = None if first.penalty != first.penalty else first.penalty  # B and the difference have that of A
    task.progress(1, 3, "in B")
    second = ask(replace(task, classifier=b, target=b.classes.index(name)), penalty)
    task.progress(2, 3, "of the difference")
    gaps = (first.gap, second.gap) if scale == "gap" else (1.0, 1.0)
    for gap, which in zip(gaps, "AB", strict=True):
        if not gap > 0:
            raise NotApplicable(
                f"{which} gives {name!r} no larger margin than other classes, so that there is no gap to share",
                "compare logits: --scale logits",
            )
    between = replace(task, classifier=Difference(task.classifier, b, name, gaps), target=0)
    if samples is not None and float(between.classifier.logits(samples).abs().max()) < 1e-9:
        raise _same()
    try:
        difference = ask(between, penalty)
    except NotApplicable as error:
        if "same margin" in error.message:
            raise _same() from error
        raise
    task.progress(3, 3, "done")

    order_by = read if read is not None or samples is None else made.asked

    def shown(phrase: str) -> Samples | None:
        if samples is None or order_by is None:
            return None
        order = torch.argsort(order_by[:, list(phrases).index(phrase)], descending=True, stable=True)
        return samples.take(order[:SHOWN].tolist())

    unit, scales = first.unit, [1.0] * len(phrases)
    if scale == "gap":
        unit = UNIT
        scales = ranges(read).tolist() if read is not None and "standard deviation" in first.unit else scales
    by = [[s / gap for s in scales] for gap in (*gaps, 1.0)]
    return Compared(first, second, difference, (by[0], by[1], by[2]), unit, phrases, shown, (*notes, *first.notes))


def _made(
    task: Task, phrases: tuple[str, ...], o: SurrogateOptions
) -> tuple[Callable[[Task, float | None, Made], Evidence], Made]:
    """Pictures that were drawn or edited, once for all classifiers, and the evidence that they give."""
    keys: dict[str, Any] = {"permutations": o.permutations, "alpha": o.alpha}
    if o.evidence == "factorial":
        made = scenes_read(task, phrases, o.drawings or DRAWINGS, o.at_once or AT_ONCE)
        return lambda task, penalty, made: factorial(task, phrases, penalty=penalty, drawn=made, **keys), made
    made = edits_read(task, phrases, o.edits, o.at_once or AT_ONCE_EDITED, o.strength)
    return lambda task, penalty, made: edited(task, phrases, penalty=penalty, made=made, **keys), made


def p_value(e: Estimate) -> float:
    """Two-sided p-value of an estimate."""
    return min(1.0, 2 * min(e.p, e.p_against))


def _often(samples: Samples, phrases: tuple[str, ...]) -> tuple[str, ...]:
    present = occurrences(samples.texts, phrases).sum(0)
    kept = tuple(p for p, n in zip(phrases, present.tolist(), strict=True) if OFTEN <= n <= len(samples) - OFTEN)
    if not kept:
        raise NotApplicable(
            f"no word occurs in {OFTEN} or more of {len(samples)} texts",
            "name phrases of your own with --phrases a,b,c",
        )
    return kept


def _same() -> UsageError:
    return UsageError(
        "A and B give every sample the same margin, so nothing has shifted", "check that B is another version of A"
    )
