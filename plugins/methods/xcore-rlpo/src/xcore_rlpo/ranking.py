"""What the concepts are ranked by: evidence of what each seed prompt does to the class, before anything is tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from torch.nn.functional import normalize
from xcore_evidence.estimates import Estimate, Evidence
from xcore_evidence.observed import CHOSEN, POOL, observed
from xcore_evidence.readings import Pool, occurrences, pool_of
from xcore_evidence.statistics import signed_marks

from xcore.contract import MissingError, NotApplicable, Samples, Task
from xcore.inputs.words import lemma, words
from xcore_rlpo.options import Options
from xcore_rlpo.seed_prompts import SeedPrompts, embedding, listed

Kind = Literal["context", "factorial", "edited", "tcav", "prior"]

IMPORTANCE_IS: Mapping[Kind, str] = {
    "context": "effect on the margin of the class in samples of all classes, in logits, given the other phrases",
    "factorial": "effect on the margin of the class in drawn scenes, in logits, given the other phrases",
    "edited": "effect on the margin of the class in pictures of it that are edited, in logits, given the other phrases",
    "tcav": "mean TCAV effect of newly drawn samples",
    "prior": "mean probability by the embedding model over the class samples",
}

ALPHA = 0.05
"""Family-wise error rate of the marks on each side."""
FEWEST = 3
"""Samples for each phrase of a regression, at least."""
OFTEN = 5
"""Texts in which a word must occur, so that its effect can be told."""


@dataclass(frozen=True)
class Ranking:
    """The seed prompts by their evidence; for rank=tcav there is none before the search."""

    kind: Kind
    importance: Mapping[str, float] = field(default_factory=dict)
    """Phrase -> importance, in the unit of `IMPORTANCE_IS`; empty for rank=tcav."""
    marks: Mapping[str, int] = field(default_factory=dict)
    """Phrase -> +1 (raises the class), -1 (lowers it) or 0."""
    evidence: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Phrase -> the figures of the evidence, for `Concept.evidence`."""
    notes: tuple[str, ...] = ()
    untested: frozenset[str] = frozenset()
    """Phrases whose effect could not be estimated. They come last: their importance is the lowest of all, and at most
    0."""
    asked: int = 0
    """Samples that the classifier was asked about."""
    generated: int = 0
    """Samples that were drawn, or written."""

    def place(self, phrase: str, importance: float) -> tuple[float, bool]:
        """What concepts are sorted by."""
        return -importance, phrase in self.untested

    def ordered(self) -> list[str]:
        """The phrases, most important first; ties in their order, but for untested ones."""
        return sorted(self.importance, key=lambda phrase: self.place(phrase, self.importance[phrase]))

    def worth_it(self, most: int) -> list[str]:
        """The first phrases of the ranking that are marked or have positive evidence, at most so many."""
        return [p for p in self.ordered()[:most] if self.marks.get(p, 0) > 0 or self.importance[p] > 0]


def ranking(task: Task, options: Options, found: SeedPrompts) -> Ranking:
    """Rank the seed prompts as the options say.

    Raises
    ------
    NotApplicable
        There are too few samples for the evidence that was asked for.
    MissingError
        A model that it needs is missing.
    """
    if options.rank != "auto":
        return _by(options.rank, task, options, found)
    why = ""
    if task.samples.modality == "text" or "image-text" in task.roles:
        try:
            made = _by("context", task, options, found)
            return _told(made, f"{_reader(task)} and there are samples of other classes")
        except (NotApplicable, MissingError) as reason:
            why = f"evidence in context cannot be had ({reason.message})"
        if task.samples.modality == "image":
            try:
                made = _by("factorial", task, options, found)
                return _told(made, f"{why}, and a model of the role image-text reads drawings")
            except (NotApplicable, MissingError) as reason:
                why += f", and neither can evidence of drawn scenes ({reason.message})"
    return _told(Ranking("tcav"), why or "no model of the role image-text reads which phrase is in which picture")


def _reader(task: Task) -> str:
    if task.samples.modality == "text":
        return "texts show which words are in them"
    return "a model of the role image-text reads which phrase is in which picture"


def _told(made: Ranking, why: str) -> Ranking:
    return replace(made, notes=(f"rank=auto chose rank={made.kind}: {why}", *made.notes))


def _by(kind: Kind, task: Task, options: Options, found: SeedPrompts) -> Ranking:
    if kind == "tcav":
        return Ranking("tcav")
    if kind == "prior":
        prior = dict(zip(found.phrases, found.prior or (), strict=True))
        return Ranking("prior", importance=prior)
    if kind == "context":
        evidence = in_context(task, found.phrases, found.beside, options.dedup)
    elif kind == "edited":
        from xcore_evidence.edited import edited  # changes pictures, which the other kinds do without

        names = [*found.phrases, *_others(task, found.phrases, found.beside, options.dedup)]
        evidence = edited(task, names, alpha=ALPHA)
    else:
        from xcore_evidence.factorial import factorial  # draws scenes, which the other kinds do without

        evidence = factorial(task, found.phrases, alpha=ALPHA)
    return of_evidence(kind, evidence, found.phrases)


def of_evidence(kind: Kind, evidence: Evidence, phrases: Sequence[str]) -> Ranking:
    """The ranking by what evidence says of these phrases; marks are corrected over them alone."""
    own = [evidence.of(p) for p in phrases]
    marks, adjusted = signed_marks([e.p for e in own], [e.p_against for e in own], ALPHA)
    own = [replace(e, mark=m, p_holm=p) for e, m, p in zip(own, marks, adjusted, strict=True)]  # type: ignore[arg-type]
    lowest = min((e.effect for e in own if e.tested), default=0.0)
    untested = [e.phrase for e in own if not e.tested]
    told = (f"{listed(untested, 'phrase')} could not be tested and come last",) if untested else ()
    return Ranking(
        kind,
        importance={e.phrase: e.effect if e.tested else min(lowest, 0.0) for e in own},
        marks={e.phrase: e.mark for e in own},
        evidence={e.phrase: e.as_evidence() for e in own},
        notes=(_summary(evidence, own), *told, *evidence.notes),
        untested=frozenset(untested),
        asked=evidence.n,
        generated=evidence.n if kind in ("factorial", "edited") else 0,
    )


def _summary(evidence: Evidence, own: Sequence[Estimate]) -> str:
    raised, lowered = (sum(e.mark == side for e in own) for side in (1, -1))
    beside = len(evidence.estimates) - len(own)
    others = f", with {beside} more phrases beside them," if beside else ""
    return (
        f"concepts are ranked by {evidence.says} ({evidence.n} samples, unit: {evidence.unit}): of {len(own)} "
        f"phrases{others} {raised} raise the class and {lowered} lower it (one-sided, Holm at {ALPHA:g} on each side)"
    )


def in_context(task: Task, phrases: Sequence[str], beside: Sequence[str], dedup: float) -> Evidence:
    """The evidence of samples of all classes for the phrases, all others of the vocabulary held fixed beside them.

    Parameters
    ----------
    beside
        Further phrases. Those that say the same as one of `phrases` are left out, since the two would share its effect;
        where the samples are too few for so many, all are.
    dedup
        See option `dedup`.

    Raises
    ------
    NotApplicable
        There are too few samples, or too few of them hold the words.
    """
    pool = pool_of(task, POOL, CHOSEN)
    names = [*phrases, *_others(task, phrases, beside, dedup)]
    n = len(pool.samples)
    if n < FEWEST * len(names):
        names = list(phrases)
    if n < FEWEST * len(names):
        raise NotApplicable(f"{n} samples are too few for {len(names)} phrases", "give more samples of other classes")
    _check_occur(pool, phrases)
    return observed(task, names, pool=pool, alpha=ALPHA)


def _others(task: Task, phrases: Sequence[str], beside: Sequence[str], dedup: float) -> list[str]:
    """The phrases of `beside` that say something else than any of `phrases`."""
    further = [p for p in beside if p not in set(phrases)]
    if not further:
        return []
    if task.samples.modality == "text":
        known = {_lemmas(p) for p in phrases}
        return [p for p in further if _lemmas(p) not in known]
    embed = embedding(task)
    rows = [normalize(embed(Samples("text", tuple(p), tuple(p))), dim=1) for p in (further, phrases)]
    near = (rows[0] @ rows[1].T > dedup).any(1)
    return [p for p, same in zip(further, near.tolist(), strict=True) if not same]


def _lemmas(phrase: str) -> tuple[str, ...]:
    return tuple(lemma(word) for word in words(phrase))


def _check_occur(pool: Pool, phrases: Sequence[str]) -> None:
    """Refuse texts in which most words occur too seldom to tell their effect."""
    if pool.samples.modality != "text":
        return
    often = occurrences(pool.samples.texts, phrases).sum(0)
    known = int(((often >= OFTEN) & (len(pool.samples) - often >= OFTEN)).sum())
    if 2 * known < len(phrases):
        raise NotApplicable(
            f"only {known} of {len(phrases)} words occur in {OFTEN} or more of {len(pool.samples)} texts",
            "give more texts",
        )
