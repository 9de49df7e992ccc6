"""Scores of all concepts at one layer: against random sets with a null distribution, and against other concepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from xcore.contract import Task, UsageError
from xcore_tcav.contrast import counterparts_of, null_rendering
from xcore_tcav.inference import Floats, interval, rank_p
from xcore_tcav.negatives import NegativeSets
from xcore_tcav.options import TcavOptions
from xcore_tcav.scorer import Scorer, SetScore
from xcore_tcav.sources import ConceptSet

_BATCH = (
    20  # concepts scored together; small enough that the classifier still has their activations cached for the CAVs
)


@dataclass(frozen=True, eq=False)
class RelativeScore:
    """Relative TCAV (Kim et al. 2018, section 3.6): the score of a concept against other concepts, not random sets."""

    ts: float
    """Share of class samples with positive sensitivity, in [0, 1], averaged over the negative sets."""
    effect: float
    """Mean sensitivity over the mean gradient norm, in [-1, 1]."""
    lo: float
    hi: float
    """95 % interval of the effect (nan if there is one negative set)."""
    accuracy: float
    """Cross-validated accuracy of the CAVs, in [0, 1]."""
    cav: Tensor
    """(d,) mean of the unit CAVs."""


@dataclass(frozen=True, eq=False)
class ConceptScore:
    """The score of one concept at one layer."""

    score: SetScore
    p: float
    p_against: float
    """One-sided p-values, in (0, 1], before Holm's correction: small if the concept raises, or lowers, the class."""
    null_effect: Floats
    """(J,) effects of the random sets of the null distribution."""
    null_ts: Floats
    """(J,) their TCAV scores."""
    relative: RelativeScore | None
    cav: Tensor
    """(d,) mean of the R unit CAVs; of those against other concepts for relative TCAV."""
    local: Tensor
    """(m,) sensitivity of each class sample along `cav`, over the mean gradient norm; its mean is `effect`."""

    @property
    def effect(self) -> float:
        """The effect that concepts are ranked by: the relative one if there is one."""
        return self.relative.effect if self.relative else self.score.effect

    @property
    def bounds(self) -> tuple[float, float]:
        """95 % interval of `effect`."""
        return (self.relative.lo, self.relative.hi) if self.relative else (self.score.effect_lo, self.score.effect_hi)

    @property
    def accuracy(self) -> float:
        """Cross-validated accuracy of the CAVs behind `effect`."""
        return self.relative.accuracy if self.relative else self.score.accuracy


@dataclass(frozen=True, eq=False)
class LayerScores:
    """The scores of all concepts at one layer."""

    name: str
    scores: tuple[ConceptScore, ...]
    unit: float
    """Mean gradient norm of the class samples, the unit of effects."""


def open_scorer(task: Task, layer: str, options: TcavOptions) -> Scorer:
    """The scorer of the class at a layer; raises `NotApplicable` where TCAV is undefined."""
    return Scorer(
        task.classifier.open(layer),
        task.target,
        task.samples,
        task.random_set,
        negatives=options.negatives,
        pool=options.pool,
        folds=options.folds,
    )


def score_layer(
    scorer: Scorer,
    layer: str,
    sets: Sequence[ConceptSet],
    renders: Sequence[str],
    task: Task,
    options: TcavOptions,
) -> LayerScores:
    """Score all concepts at a layer. What does not depend on the concept is computed once.

    Parameters
    ----------
    sets
        All concept sets, the one that `options.against` names among them; that one gets no score.
    renders
        How the random sets of each concept set are rendered.

    Raises
    ------
    UsageError
        Concept or random images have another size than the class images, and the number of activations depends on it.
    """
    _check_sizes(scorer, sets, renders, task)
    activations = [scorer.activations(s.fit_samples) for s in sets] if options.against else []
    scores = []
    for start, end in _batches(renders):
        render = renders[start]
        found = scorer.score_many([s.fit_samples for s in sets[start:end]], render)
        for i, (concept, score) in enumerate(zip(sets[start:end], found, strict=True), start):
            if options.against == concept.name:
                continue
            null = scorer.null(options.null, score.n, null_rendering(render), counterparts_of(render, options))
            null = null.without(concept.name)
            by_rank = options.test == "rank"
            p, p_against = rank_p(score.effect, null.effect) if by_rank else scorer.welch_p_values(score)
            relative = None
            if options.against:
                others = _compared_with(sets, i, options)
                relative = _relative_score(scorer, activations, i, others, options, task.seed)
            cav = relative.cav if relative else scorer.cavs(concept.fit_samples, render, score).mean(0)
            local = scorer.local(cav)
            scores.append(ConceptScore(score, p, p_against, null.effect, null.ts, relative, cav, local))
        if render not in renders[end:]:
            scorer.forget(render)  # of concepts that each have random sets of their own
    return LayerScores(layer, tuple(scores), float(scorer.units.mean()))


def _batches(renders: Sequence[str]) -> list[tuple[int, int]]:
    """(start, end) of the concepts that are scored together: at most `_BATCH` in a row whose random sets are alike."""
    batches, start = [], 0
    for i in range(1, len(renders) + 1):
        if i == len(renders) or renders[i] != renders[start] or i - start == _BATCH:
            batches.append((start, i))
            start = i
    return batches


def _compared_with(sets: Sequence[ConceptSet], i: int, options: TcavOptions) -> list[int]:
    """Indices of the concepts that concept i is compared with."""
    if options.against == "others":
        return [k for k in range(len(sets)) if k != i]
    return [k for k, s in enumerate(sets) if s.name == options.against]


def _relative_score(
    scorer: Scorer, activations: Sequence[Tensor], i: int, others: Sequence[int], options: TcavOptions, seed: int
) -> RelativeScore:
    """Score concept i against other concepts.

    The samples of a single other concept are the only negative set. Of several, R random draws from all their samples
    are the negative sets. With a single one, TCAV(C|D) = 1 - TCAV(D|C) where no sensitivity is 0: both have the same
    CAV, with opposite signs.
    """
    x, pool = activations[i], torch.cat([activations[k] for k in others])
    n = min(len(x), len(pool))
    if len(others) == 1:
        sets = pool[None, :n]
    else:
        rng = np.random.default_rng([seed, 2, i])
        sets = torch.stack([pool[rng.choice(len(pool), n, replace=False)] for _ in range(options.negatives)])
    negatives = NegativeSets(sets, scorer.gradients, scorer.c)
    fitted = negatives.fitted([x[:n]])
    sensitivity = negatives.sensitivity(fitted)[0].cpu().numpy()
    lo, hi = interval(sensitivity, scorer.units) if len(sensitivity) > 1 else (nan, nan)
    return RelativeScore(
        ts=float((sensitivity > 0).mean()),
        effect=float(sensitivity.mean() / scorer.units.mean()),
        lo=lo,
        hi=hi,
        accuracy=float(negatives.accuracy(fitted, options.folds)[0]),
        cav=normalize(negatives.cavs(x[:n], fitted.fit.alpha), dim=1).mean(0).cpu(),
    )


def _check_sizes(scorer: Scorer, sets: Sequence[ConceptSet], renders: Sequence[str], task: Task) -> None:
    """Refuse images of another size than the class images where they have another number of activations."""
    if task.samples.modality != "image":
        return
    size = task.samples.images.shape[2:]
    checked = [(f"the images of {s.name!r}", s.fit_samples) for s in sets]
    for what, samples in [*checked, ("random images", task.random_set(len(sets[0].fit_samples), 0, renders[0]))]:
        other = samples.images.shape[2:]
        if other != size and scorer.activations(samples.take([0])).shape[1] != scorer.gradients.shape[1]:
            raise UsageError(
                f"{what} are {other[0]}x{other[1]}, those of the class {size[0]}x{size[1]}, and the number of "
                "activations at this layer depends on the image size",
                "average the activations over positions with tcav.pool=true",
            )
