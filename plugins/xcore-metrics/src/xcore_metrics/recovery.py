"""Recovery: does an explanation name what the classifier is known to use?

Where the truth is known (`xcore.types.Truth`, by intervention), each concept is turned into the set of factor values
that it names. It is *correct* if that set is not empty and the classifier uses every value in it. A concept is read by
its name if that is in the table of phrases, else by its words (see `xcore_metrics.naming`). On images that is done if
all concepts of the explanation have words and the table knows one of them at least (variant "phrases"); else a judge of
pictures reads the concepts' images (variant "oracle"). The two are never ranked together. On texts there is no such
judge. Words that the table does not know name nothing that is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xcore.errors import NotApplicable
from xcore.protocols import Run
from xcore.types import Concept, Score
from xcore_metrics.memory import once
from xcore_metrics.naming import Names, Values
from xcore_metrics.options import RecoveryOptions

if TYPE_CHECKING:
    from torch import Tensor

SURE = 0.5
"""A picture set shows a value if the oracle's mean probability of it is above this."""


@dataclass(frozen=True)
class Judgement:
    """What the concepts of one explanation name, and what is used."""

    variant: Literal["phrases", "oracle"]
    used: Values
    named: tuple[Values | None, ...]
    """Factor values named by each concept; None = it cannot be told."""
    candidates: tuple[Values | None, ...]
    """What the ranking could have chosen from."""

    def correct(self, values: Values | None) -> bool:
        """Names at least one factor value, and only used ones."""
        return values is not None and bool(values) and values <= self.used

    def lenient(self, values: Values | None) -> bool:
        """Names at least one used factor value, whatever else."""
        return values is not None and bool(values & self.used)


def judge(run: Run) -> Judgement:
    """Read what every concept of a run names.

    Raises
    ------
    NotApplicable
        Without a truth table for the class, without used values or concepts, or if nothing can be read.
    """
    truth, concepts = run.truth, run.explanation.concepts
    cls = run.explanation.target
    if truth is None or cls not in truth.effects:
        raise NotApplicable(f"it is not known what the classifier uses for class {cls!r}")
    if not concepts:
        raise NotApplicable("the explanation has no concepts")
    used = truth.used(cls)
    if not used:
        raise NotApplicable(f"by the truth table the classifier uses no factor value for class {cls!r}")
    names, vocabulary = Names(truth), run.task.vocabulary or tuple(sorted(truth.phrases))
    if run.heldout.kind == "text":
        said = {*truth.phrases, *vocabulary}
        named = tuple(names.listed(names.phrases(c)) if c.words or c.name in said else None for c in concepts)
        if all(values is None for values in named):
            raise NotApplicable("no concept is a word of the vocabulary or has words")
        return Judgement("phrases", used, named, tuple(names.listed((p,)) for p in vocabulary))
    by_words = names.of_all(concepts)
    if by_words is not None:
        chosen = {c.name for c in concepts} <= {*vocabulary} or all(names.lists(c) for c in concepts)
        return Judgement("phrases", used, by_words, tuple(names.of((p,)) for p in vocabulary) if chosen else by_words)
    seen = tuple(_of_pictures(run, concept, used) for concept in concepts)
    if all(values is None for values in seen):
        raise NotApplicable("the truth's table knows no word of the concepts, and none of them has images")
    return Judgement("oracle", used, seen, seen)


def _of_pictures(run: Run, concept: Concept, used: Values) -> Values | None:
    if concept.samples is None or concept.samples.kind != "image" or not len(concept.samples):
        return None
    oracle = run.task.model("factor-oracle")
    read: Mapping[str, Mapping[str, Tensor]] = once(oracle, concept.samples, oracle.factors)
    unread = used - {f"{factor}={value}" for factor, values in read.items() for value in values}
    if unread:  # else the two would silently speak of different things
        raise NotApplicable(f"factor oracle {oracle.name!r} cannot read {', '.join(sorted(unread))}")
    return frozenset(
        f"{factor}={value}"
        for factor, values in read.items()
        for value, probability in values.items()
        if value != "none" and float(probability.mean()) > SURE
    )


def auc(importance: Sequence[float], correct: Sequence[bool]) -> float | None:
    """Area under the ROC curve of importance against correctness, ties counted half; None if all are of one kind.

    This is the probability that a correct concept drawn at random is more important than an incorrect one (the
    Mann-Whitney statistic), 0.5 by chance.
    """
    right = [i for i, c in zip(importance, correct, strict=True) if c]
    wrong = [i for i, c in zip(importance, correct, strict=True) if not c]
    if not right or not wrong or not all(math.isfinite(i) for i in importance):
        return None
    wins = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong)
    return wins / (len(right) * len(wrong))


class Recovery:
    """Precision@k of the ranking, beside its chance level, and a 0/1 score for each concept.

    Precision is the share of correct concepts among the first k = 3, or as many as the option `top` says (among all, if
    there are fewer); the variant names k where it is not 3, as in the tables of the literature. *Chance* is its
    exact expectation if as many were drawn at random, without replacement, from the same candidates: the phrases of
    the vocabulary where the concepts are among them, or where the truth's table lists all of their words as they stand;
    else all concepts of the explanation, be they read from pictures or from words of a method's own. In this second
    case an explanation of three concepts has its own precision as chance: only the ranking of more can beat it.

    Details of the score: ``chance``; ``auc`` (absent where undefined, see `RankingAUC`) and ``auc_chance``;
    ``coverage``, the share of used values that the first k name; ``decoys``, the share of the first k that name
    no used value; ``lenient`` and ``lenient_chance``, precision if one used value is enough; ``n_candidates``;
    ``unread``, the concepts that could not be read and count as naming nothing.
    """

    direction: Literal["higher"] = "higher"
    needs = frozenset({"truth"})

    def __init__(self, options: RecoveryOptions | None = None) -> None:
        self.options = options or RecoveryOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """The explanation's score first, then one a concept."""
        return [score for run in runs for score in self._run(run)]

    def _run(self, run: Run) -> list[Score]:
        try:
            j = judge(run)
        except NotApplicable as e:
            return [Score("recovery", reason=str(e))]
        top, wanted = j.named[: self.options.top], self.options.top
        variant = j.variant if wanted == RecoveryOptions().top else f"{j.variant}, precision@{wanted}"
        said: Values = frozenset().union(*(values or () for values in top))
        details = {
            "chance": _share([j.correct(v) for v in j.candidates]),
            "auc_chance": 0.5,
            "coverage": len(said & j.used) / len(j.used),
            "decoys": _share([not j.lenient(v) for v in top]),
            "lenient": _share([j.lenient(v) for v in top]),
            "lenient_chance": _share([j.lenient(v) for v in j.candidates]),
            "n_candidates": float(len(j.candidates)),
            "unread": float(sum(v is None for v in j.named)),
        }
        area = auc([c.importance for c in run.explanation.concepts], [j.correct(v) for v in j.named])
        if area is not None:
            details["auc"] = area
        precision = _share([j.correct(v) for v in top])
        whole = Score("recovery", value=precision, variant=variant, n=len(top), details=details)
        return [whole, *(self._concept(i, v, j, variant) for i, v in enumerate(j.named))]

    @staticmethod
    def _concept(index: int, values: Values | None, j: Judgement, variant: str) -> Score:
        if values is None:
            what = "images" if j.variant == "oracle" else "words"
            return Score("recovery", index, reason=f"the concept has no {what} to read", variant=variant)
        details = {
            "named": float(len(values)),
            "used": float(len(values & j.used)),
            "lenient": float(j.lenient(values)),
        }
        return Score("recovery", index, value=float(j.correct(values)), variant=variant, n=1, details=details)


class RankingAUC:
    """How well importance separates correct from incorrect concepts, over the whole ranking; 0.5 is chance."""

    direction: Literal["higher"] = "higher"
    needs = frozenset({"truth"})

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score an explanation."""
        return [self._run(run) for run in runs]

    @staticmethod
    def _run(run: Run) -> Score:
        try:
            j = judge(run)
        except NotApplicable as e:
            return Score("AUC", reason=str(e))
        importance = [c.importance for c in run.explanation.concepts]
        correct = [j.correct(v) for v in j.named]
        area = auc(importance, correct)
        if area is not None:
            return Score("AUC", value=area, variant=j.variant, n=len(correct), details={"chance": 0.5})
        if not all(math.isfinite(i) for i in importance):
            reason = "an importance is not finite"
        else:
            reason = (
                f"{'all' if all(correct) else 'none'} of the {len(correct)} concepts are correct: no order to judge"
            )
        return Score("AUC", reason=reason, variant=j.variant)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def recovery(options: RecoveryOptions | None = None) -> Recovery:
    """The metric recovery."""
    return Recovery(options)


def ranking_auc(options: None = None) -> RankingAUC:
    """The metric; it has no options."""
    return RankingAUC()
