"""What each kind of evidence says of the asked concepts, all of them and the phrases beside them jointly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan, sqrt

import torch
from torch import Tensor
from torch.nn.functional import normalize
from xcore_evidence.blended import LEAST, blended
from xcore_evidence.contrasts import contrast
from xcore_evidence.edited import AT_ONCE as AT_ONCE_EDITED
from xcore_evidence.edited import edited, edits_read
from xcore_evidence.estimates import Evidence
from xcore_evidence.factorial import AT_ONCE, factorial
from xcore_evidence.margins import margin
from xcore_evidence.observed import observed
from xcore_evidence.options import SurrogateOptions
from xcore_evidence.readings import SCALE, embedded, gap_of, pool_of, presence
from xcore_evidence.statistics import half_width, one_sided

from xcore.contract import ImageText, MissingError, NotApplicable, Samples, Task, UsageError
from xcore_acting.ask_concepts import Asked, pictures

KINDS = ("observed", "factorial", "edited")
OFTEN = 5
"""Texts in which a phrase of the context must occur."""
ROWS = 3
"""Samples for each phrase without which the context is left out."""
CHANGED = "effect of blends, or of hiding a region, in pictures of the class"
BLEND = 0.5
"""How much of a concept's picture is seen in a blend."""


@dataclass(frozen=True)
class Effect:
    """The effect of a concept, or the difference of two, as a share of the size of the class's gap."""

    share: float
    lo: float
    hi: float
    """95 % interval."""
    p: float
    """One-sided: that it does not raise the class; of a difference two-sided."""
    p_against: float
    """One-sided: that it does not lower the class; of a difference that it is as large as the bound of equality."""
    n: int
    rank: int = 0
    """Its place among all phrases that were judged jointly, the most raising first; 0 = it was judged by itself."""
    of: int = 0
    """How many phrases were judged jointly."""
    bound: float = nan
    """Of a difference: the smallest bound within which the two are shown to be equal, at 5 %."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one kind of evidence says."""

    kind: str
    effects: Mapping[str, Effect]
    """Concept -> its effect; concepts that this kind cannot judge are not there."""
    pairs: Mapping[tuple[str, str], Effect]
    says: str
    notes: tuple[str, ...] = ()
    gap: float = nan
    beside: Mapping[str, float] = field(default_factory=dict)
    """Phrase beside the asked ones -> its effect, as a share of the gap."""


@dataclass(frozen=True, eq=False)
class Question:
    """The concepts of a call, as the kinds of evidence need them."""

    asked: Sequence[Asked]
    pairs: Sequence[tuple[str, str]]
    beside: Sequence[str]
    within: float
    options: SurrogateOptions

    @property
    def phrases(self) -> list[str]:
        """The asked phrases."""
        return [a.name for a in self.asked if a.kind == "phrase"]

    @property
    def penalty(self) -> float | None:
        """The ridge, as `xcore_evidence` takes it."""
        return None if isinstance(self.options.penalty, str) else self.options.penalty


def answers(task: Task, question: Question, kinds: Sequence[str] = ()) -> tuple[list[Answer], list[str]]:
    """What each kind of evidence says, and a sentence for each kind that cannot be asked.

    Parameters
    ----------
    kinds
        Those that must be asked; none = all that the inputs allow.

    Raises
    ------
    MissingError, NotApplicable
        A kind that must be asked cannot be, or none can.
    """
    _check(task, question.asked)
    made, missing, first = list[Answer](), list[str](), None
    wanted = tuple(kinds) or KINDS
    for i, kind in enumerate(wanted):
        task.progress(i, len(wanted), f"{kind} evidence about {len(question.asked)} concepts")
        try:
            made.append(_ASK[kind](task, question))
        except (MissingError, NotApplicable) as error:
            if kinds:
                raise
            first = first or error
            missing.append(f"no {kind} evidence: {error.message}" + (f"; {error.hint}" if error.hint else ""))
    if not made:
        assert first is not None
        raise first
    task.progress(len(wanted), len(wanted), "done")
    return made, missing


def _check(task: Task, asked: Sequence[Asked]) -> None:
    """Raise what is wrong with the concepts of the user before anything is drawn."""
    for a in asked:
        if a.kind == "pictures":
            pictures(a, task)
        elif a.kind == "mask" and task.samples.modality != "image":
            raise UsageError(f"{a.name!r} is a region of pictures, and the classifier reads texts", "name a phrase")
        elif a.kind == "mask":
            _masks(task, a.name)


def _masks(task: Task, name: str) -> Tensor:
    """(n, H, W) in [0, 1] masks of the explained pictures; of several for each picture the first."""
    masks, size = task.samples.meta.get("masks"), tuple(task.samples.images.shape[-2:])
    if masks is None:
        raise MissingError(
            f"the data have no masks, which {name!r} is to be read from",
            "give each picture one in a folder masks/ with the same paths, or in the column mask of metadata.csv",
        )
    where = torch.as_tensor(masks).float()
    where = where[:, 0] if where.ndim == 4 else where
    if tuple(where.shape[-2:]) != size:
        raise UsageError(
            "the masks have {} x {} pixels, the pictures {} x {}".format(*where.shape[-2:], *size),
            "give masks of the size of the pictures",
        )
    return where


def _observed(task: Task, question: Question) -> Answer:
    """The samples of the data: phrases are read in them, and so are folders of pictures, by their mean embedding."""
    o, notes = question.options, list[str]()
    folders = [a for a in question.asked if a.kind == "pictures"]
    asked = [*question.phrases, *(a.name for a in folders)]
    if not asked:
        raise NotApplicable("only regions that masks cover are asked about", "name a phrase or a folder of pictures")
    pool = pool_of(task, o.pool, o.samples)
    own = presence(task, pool.samples, question.phrases) if question.phrases else torch.zeros(len(pool.samples), 0)
    columns = [own.double()]
    for folder in folders:
        column, remarks = _likeness(task, pool.samples, folder)
        columns.append(column[:, None])
        notes += remarks
    beside = list(question.beside)
    others = presence(task, pool.samples, beside) if beside else torch.zeros(len(pool.samples), 0)
    if task.samples.modality == "text" and beside:
        often = [i for i, n in enumerate(others.sum(0).tolist()) if OFTEN <= n <= len(others) - OFTEN]
        beside, others = [beside[i] for i in often], others[:, often]
    if beside and len(pool.samples) < ROWS * (len(asked) + len(beside)):
        notes.append(
            f"{len(pool.samples)} samples are too few for {len(beside)} phrases beside the concepts, which are left out"
        )
        beside, others = [], others[:, :0]
    evidence = observed(
        task, [*asked, *beside], pool=pool, read=torch.cat([*columns, others.double()], 1), penalty=question.penalty,
        alpha=o.alpha,
    )  # fmt: skip
    return _answer(question, evidence, asked, notes=notes)


def _factorial(task: Task, question: Question) -> Answer:
    """Scenes drawn, or texts changed, by random combinations of the phrases."""
    o = question.options
    if not question.phrases:
        raise NotApplicable("none of the concepts has words that could be drawn", "name phrases with --concept")
    evidence = factorial(
        task, [*question.phrases, *question.beside], drawings=o.drawings, at_once=o.at_once or AT_ONCE,
        permutations=o.permutations, penalty=question.penalty, alpha=o.alpha,
    )  # fmt: skip
    return _answer(question, evidence, question.phrases)


def _edited(task: Task, question: Question) -> Answer:
    """Pictures of the class: edited towards phrases, blended with pictures of a concept, or with a region hidden."""
    o, notes, changed = question.options, list[str](), dict[str, Tensor]()
    for a in question.asked:
        if a.kind != "phrase":
            try:
                changed[a.name], remarks = _blends(task, a) if a.kind == "pictures" else _hidden(task, a)
                notes += remarks
            except NotApplicable as error:
                notes.append(f"{a.name!r} was not tried in pictures of the class: {error.message}")
    evidence = None
    if question.phrases:
        try:
            phrases = [*question.phrases, *question.beside]
            made = edits_read(task, phrases, o.edits, o.at_once or AT_ONCE_EDITED, o.strength)
            evidence = edited(task, phrases, permutations=o.permutations, penalty=question.penalty, made=made)
        except (MissingError, NotApplicable) as error:
            if not changed:
                raise
            notes.append(f"no edits towards phrases: {error.message}")
    elif not changed:
        raise NotApplicable(notes[0] if notes else "there is nothing to change")
    return _answer(question, evidence, question.phrases, notes=notes, changed=(changed, gap_of(task)))


_ASK = {"observed": _observed, "factorial": _factorial, "edited": _edited}


def _answer(
    question: Question,
    evidence: Evidence | None,
    asked: Sequence[str],
    *,
    notes: Sequence[str] = (),
    changed: tuple[Mapping[str, Tensor], float] = ({}, nan),
) -> Answer:
    """The evidence of phrases that were judged jointly, and of changes that were judged by themselves.

    Parameters
    ----------
    changed
        Concept -> (n,) what its change does to the margin of each picture; and the gap of the class.
    """
    own, gap = changed
    effects = {name: _of(d, gap) for name, d in own.items()}
    pairs, beside = _of_changes(question, own, gap), dict[str, float]()
    if evidence is None:
        return Answer("edited", effects, pairs, CHANGED, tuple(notes), gap)
    places = {evidence.estimates[i].phrase: place for place, i in enumerate(evidence.ranked(), 1)}
    for e in evidence.estimates:
        scale = e.scale if isfinite(e.scale) else nan
        if e.phrase not in asked:
            beside[e.phrase] = e.effect * scale
            continue
        share, lo, hi = (value * scale if e.tested else nan for value in (e.effect, e.lo, e.hi))
        place = (places[e.phrase], len(places)) if e.tested else (0, 0)
        effects[e.phrase] = Effect(share, lo, hi, e.p, e.p_against, evidence.n, *place)
    for first, second in question.pairs:
        if first in asked and second in asked:
            c = contrast(evidence, first, second)
            equal = c.p_within(question.within, evidence.degrees)
            pairs[first, second] = Effect(c.difference, c.lo, c.hi, c.p, equal, evidence.n, bound=c.bound)
    return Answer(evidence.kind, effects, pairs, evidence.says, (*notes, *evidence.notes), evidence.gap, beside)


def _likeness(task: Task, samples: Samples, asked: Asked) -> tuple[Tensor, list[str]]:
    """(n,) how alike samples are to the pictures of a concept: 100 x the cosine of what sets both apart from the mean.

    What sets a picture apart is its embedding less the mean of all samples: without this, the cosine would mostly say
    how usual a picture is.
    """
    concept, notes = pictures(asked, task)
    model: ImageText = task.model("image-text")
    own = normalize(embedded(model, samples).double(), dim=1)
    middle = own.mean(0)
    prototype = normalize(embedded(model, concept).double(), dim=1).mean(0) - middle
    found: Tensor = SCALE * normalize(own - middle, dim=1) @ normalize(prototype, dim=0)
    return found, notes


def _blends(task: Task, asked: Asked) -> tuple[Tensor, list[str]]:
    """(n,) the margin of pictures of the class with a picture of the concept blended in, less that with one of another
    class."""
    concept, notes = pictures(asked, task)
    given = task.samples
    _enough(len(given), asked.name)
    made = blended(given, {"concept": concept, "other": task.random_set(len(given), 0)}, BLEND, seed=task.seed)
    one, other = (margin(task.classifier.logits(made.pictures[name]), task.target) for name in ("concept", "other"))
    notes.append(
        f"{asked.name!r} was blended into {len(given)} pictures of the class; the effect is that beyond a blend with "
        "pictures of other classes"
    )
    return one - other, notes


def _hidden(task: Task, asked: Asked) -> tuple[Tensor, list[str]]:
    """(n,) the margin of pictures with a region elsewhere hidden, less that with the region of the mask hidden."""
    where = _masks(task, asked.name)
    rows = [i for i, mask in enumerate(where) if 0 < float((mask >= 0.5).float().mean()) < 0.5]
    _enough(len(rows), asked.name)
    given, where = task.samples.take(rows).images, (where[rows] >= 0.5).float()[:, None]
    elsewhere = torch.roll(where, (where.shape[2] // 2, where.shape[3] // 2), (2, 3))
    fill = given.mean((0, 2, 3), keepdim=True)

    def asked_of(region: Tensor, what: str) -> Tensor:
        changed = given * (1 - region) + fill * region
        ids = tuple(f"{what}/{i}" for i in task.samples.take(rows).ids)
        return margin(task.classifier.logits(Samples("image", changed, ids)), task.target)

    notes = [
        f"{asked.name!r} was hidden in {len(rows)} of {len(task.samples)} pictures of the class, those in which it "
        "covers less than half; the effect is what the class loses by it beyond what it loses if as much is hidden "
        "elsewhere"
    ]
    return asked_of(elsewhere, "elsewhere hidden") - asked_of(where, "hidden"), notes


def _enough(n: int, name: str) -> None:
    if n < LEAST:
        raise NotApplicable(
            f"there are {n} pictures of the class in which {name!r} can be tried, and {LEAST} are needed",
            "give more pictures of the class",
        )


def _of(d: Tensor, gap: float) -> Effect:
    """The mean of paired differences as a share of the gap, by a t test."""
    n, scale = len(d), abs(gap) or nan
    mean, error = float(d.mean()), float(d.std()) / sqrt(n)
    if not error > 0:
        return Effect(mean / scale, nan, nan, 1.0, 1.0, n)
    half = half_width(error, n - 1)
    up, down = one_sided([mean / error], n - 1)
    return Effect(mean / scale, (mean - half) / scale, (mean + half) / scale, up[0], down[0], n)


def _of_changes(question: Question, changed: Mapping[str, Tensor], gap: float) -> dict[tuple[str, str], Effect]:
    """Differences of two changes of the same pictures."""
    found = {}
    for first, second in question.pairs:
        if first in changed and second in changed and len(changed[first]) == len(changed[second]):
            d = changed[first] - changed[second]
            e, bound = _of(d, gap), question.within * abs(gap)
            error = float(d.std()) / sqrt(len(d))
            if not error > 0:
                continue
            above = one_sided([(float(d.mean()) + bound) / error], len(d) - 1)[0][0]
            below = one_sided([(float(d.mean()) - bound) / error], len(d) - 1)[1][0]
            least = abs(e.share) + half_width(error, len(d) - 1, 0.9) / abs(gap)
            p = min(1.0, 2 * min(e.p, e.p_against))
            found[first, second] = Effect(e.share, e.lo, e.hi, p, max(above, below), e.n, bound=least)
    return found
