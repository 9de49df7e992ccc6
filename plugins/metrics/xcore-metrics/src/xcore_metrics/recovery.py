"""Recovery: does an explanation name what the classifier is known to use?

Where the truth is known (`xcore.contract.Truth`, measured by intervention), each concept is mapped to the set of factor
values that it names. It is *correct* if that set is not empty and the classifier uses every value in it. A concept is
read by its name if the truth lists that phrase, otherwise by its words (see `PhraseTable`). For images this requires
that all concepts of the explanation have words and that the truth knows at least one of them (variant "phrases");
otherwise a factor oracle reads the concepts' images (variant "oracle"). The two variants are never ranked together. For
texts there is no oracle. Words that the truth does not know name nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xcore.contract import Concept, NotApplicable, Run, Score, Truth
from xcore.inputs.words import lemma, words
from xcore_metrics.model_cache import cached_output
from xcore_metrics.options import RecoveryOptions

if TYPE_CHECKING:
    from torch import Tensor

Values = frozenset[str]
"""Factor values, such as ``pattern=striped``."""

SHOWN = 0.5
"""Images show a factor value if the oracle's mean probability of it is above this."""


class PhraseTable:
    """Maps phrases to the factor values that they name, by the phrases of a truth.

    A phrase that the truth does not list is read by its lemma if it is a single word: the lemma of a word ("stripe") is
    compared with those of the single words of the truth ("striped", "stripes"). A lemma that stands for words of
    different values names nothing.
    """

    def __init__(self, truth: Truth) -> None:
        self._phrases = truth.phrases
        self._lemmas: dict[str, set[Values]] | None = None

    def phrases(self, concept: Concept) -> tuple[str, ...]:
        """The phrases of a concept: its name if the truth lists it, otherwise its words, otherwise its name."""
        return (concept.name,) if concept.name in self._phrases else concept.words or (concept.name,)

    def lists(self, concept: Concept) -> bool:
        """Whether the truth lists all phrases of a concept as they are."""
        return all(p in self._phrases for p in self.phrases(concept))

    def listed_values(self, phrases: Sequence[str]) -> Values:
        """The values that phrases name as they are; a phrase that the truth does not list names nothing."""
        return frozenset().union(*(self._phrases.get(p, frozenset()) for p in phrases))

    def values(self, phrases: Sequence[str]) -> Values:
        """The values that phrases name; single words that the truth does not list are read by their lemmas."""
        return frozenset().union(*(self._find(p) or frozenset() for p in phrases))

    def values_of_concepts(self, concepts: Sequence[Concept]) -> tuple[Values, ...] | None:
        """The values that each concept names by its words; None if the words do not suffice to read all concepts.

        Words do not suffice if the truth knows none of them, if a concept has no words and a name that the truth does
        not list, or if a phrase of several words is unknown: it may be another expression for a phrase of the truth.
        """
        every = [p for c in concepts for p in self.phrases(c)]
        readable = all(c.words or self.lists(c) for c in concepts)
        if not readable or any(p not in self._phrases and len(words(p)) > 1 for p in every):
            return None
        known = any(self._find(p) is not None for p in every)
        return tuple(self.values(self.phrases(c)) for c in concepts) if known else None

    def _find(self, phrase: str) -> Values | None:
        """The values that a phrase names; None if the truth does not know it."""
        if phrase in self._phrases or len(parts := words(phrase)) != 1:
            return self._phrases.get(phrase)
        if self._lemmas is None:
            self._lemmas = {}
            for text, values in self._phrases.items():
                if len(single := words(text)) == 1:
                    self._lemmas.setdefault(lemma(single[0]), set()).add(values)
        found = self._lemmas.get(lemma(parts[0]), set())
        return next(iter(found)) if len(found) == 1 else None


@dataclass(frozen=True)
class Judgement:
    """The factor values that the concepts of one explanation name, and those that the classifier uses."""

    variant: Literal["phrases", "oracle"]
    used: Values
    """The factor values that the classifier uses for the class."""
    named: tuple[Values | None, ...]
    """Factor values that each concept names; None = the concept cannot be read."""
    candidates: tuple[Values | None, ...]
    """Factor values of each candidate from which the ranking could have chosen, for chance."""

    def correct(self, values: Values | None) -> bool:
        """Whether these are at least one factor value, and used values only."""
        return values is not None and bool(values) and values <= self.used

    def lenient(self, values: Values | None) -> bool:
        """Whether at least one of these factor values is used."""
        return values is not None and bool(values & self.used)


def judge(run: Run) -> Judgement:
    """Find the factor values that every concept of a run names.

    Raises
    ------
    NotApplicable
        There is no truth for the class, there are no used values or no concepts, or no concept can be read.
    """
    truth, concepts = run.truth, run.explanation.concepts
    cls = run.explanation.target
    if truth is None or cls not in truth.effects:
        raise NotApplicable(f"it is not known what the classifier uses for class {cls!r}")
    if not concepts:
        raise NotApplicable("the explanation has no concepts")
    used = truth.used(cls)
    if not used:
        raise NotApplicable(f"the classifier is known to use no factor value for class {cls!r}")
    table, vocabulary = PhraseTable(truth), run.task.vocabulary or tuple(sorted(truth.phrases))
    if run.heldout.modality == "text":
        known = {*truth.phrases, *vocabulary}
        named = tuple(table.listed_values(table.phrases(c)) if c.words or c.name in known else None for c in concepts)
        if all(values is None for values in named):
            raise NotApplicable("no concept is a word of the vocabulary or has words")
        return Judgement("phrases", used, named, tuple(table.listed_values((p,)) for p in vocabulary))
    by_words = table.values_of_concepts(concepts)
    if by_words is not None:
        from_vocabulary = {c.name for c in concepts} <= {*vocabulary} or all(table.lists(c) for c in concepts)
        candidates = tuple(table.values((p,)) for p in vocabulary) if from_vocabulary else by_words
        return Judgement("phrases", used, by_words, candidates)
    by_images = tuple(_read_images(run, concept, used) for concept in concepts)
    if all(values is None for values in by_images):
        raise NotApplicable("the truth lists no word of the concepts, and none of them has images")
    return Judgement("oracle", used, by_images, by_images)


def _read_images(run: Run, concept: Concept, used: Values) -> Values | None:
    """The factor values that the oracle reads in the images of a concept; None if it has none."""
    if concept.samples is None or concept.samples.modality != "image" or not len(concept.samples):
        return None
    oracle = run.task.model("factor-oracle")
    read: Mapping[str, Mapping[str, Tensor]] = cached_output(oracle, concept.samples, oracle.factors)
    unread = used - {f"{factor}={value}" for factor, values in read.items() for value in values}
    if unread:  # otherwise such a value would count as not named, whatever the images show
        raise NotApplicable(f"factor oracle {oracle.name!r} cannot read {', '.join(sorted(unread))}")
    return frozenset(
        f"{factor}={value}"
        for factor, values in read.items()
        for value, probability in values.items()
        if value != "none" and float(probability.mean()) > SHOWN
    )


def auc(importance: Sequence[float], correct: Sequence[bool]) -> float | None:
    """Area under the ROC curve of importance against correctness, in [0, 1]; ties count half.

    This is the probability that a correct concept drawn at random is more important than an incorrect one (the
    Mann-Whitney statistic), 0.5 by chance. None if all concepts are correct, all are incorrect, or an importance is not
    finite.
    """
    right = [i for i, c in zip(importance, correct, strict=True) if c]
    wrong = [i for i, c in zip(importance, correct, strict=True) if not c]
    if not right or not wrong or not all(math.isfinite(i) for i in importance):
        return None
    wins = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong)
    return wins / (len(right) * len(wrong))


class Recovery:
    """Precision@k of the ranking, in [0, 1], beside its chance level, and a score of 0 or 1 for each concept.

    Precision is the share of correct concepts among the first k (among all, if there are fewer). k is the option `top`,
    3 by default; the variant names k if it is not 3. *Chance* is the exact expectation of precision if as many concepts
    were drawn at random, without replacement, from the same candidates. The candidates are the phrases of the
    vocabulary if the concepts are among them, or if the truth lists all of their words as they are. Otherwise they are
    all concepts of the explanation. In this second case an explanation of three concepts has its own precision as
    chance, and only the ranking of more concepts can exceed it.

    Details of the score: ``chance``; ``auc`` (absent where it is undefined, see `RankingAUC`) and ``auc_chance``;
    ``coverage``, the share of used values that the first k name; ``decoys``, the share of the first k that name no used
    value; ``lenient`` and ``lenient_chance``, precision if one used value is enough; ``n_candidates``; ``unread``, the
    number of concepts that could not be read and count as naming nothing.
    """

    direction: Literal["higher"] = "higher"
    needs = frozenset({"truth"})

    def __init__(self, options: RecoveryOptions | None = None) -> None:
        self.options = options or RecoveryOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """The score of the explanation first, then one for each concept."""
        return [score for run in runs for score in self._run(run)]

    def _run(self, run: Run) -> list[Score]:
        try:
            j = judge(run)
        except NotApplicable as e:
            return [Score("recovery", reason=str(e))]
        top, wanted = j.named[: self.options.top], self.options.top
        variant = j.variant if wanted == RecoveryOptions().top else f"{j.variant}, precision@{wanted}"
        named: Values = frozenset().union(*(values or () for values in top))
        details = {
            "chance": _share([j.correct(v) for v in j.candidates]),
            "auc_chance": 0.5,
            "coverage": len(named & j.used) / len(j.used),
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
    """How well importance separates correct from incorrect concepts in the whole ranking, in [0, 1]; 0.5 is chance."""

    direction: Literal["higher"] = "higher"
    needs = frozenset({"truth"})

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each explanation."""
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
            how_many = "all" if all(correct) else "none"
            reason = f"{how_many} of the {len(correct)} concepts are correct, so there is no order to judge"
        return Score("AUC", reason=reason, variant=j.variant)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def recovery(options: RecoveryOptions | None = None) -> Recovery:
    """The metric recovery."""
    return Recovery(options)


def ranking_auc(options: None = None) -> RankingAUC:
    """The metric AUC; it has no options."""
    return RankingAUC()
