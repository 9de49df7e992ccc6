"""Concepts judged at one layer: against random sets with their null, and against one another (relative TCAV)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from xcore.errors import UsageError
from xcore.protocols import Task
from xcore_tcav.explainer_options import Options
from xcore_tcav.inference import Floats, interval
from xcore_tcav.negatives import Negatives
from xcore_tcav.scorer import Scorer, SetScore
from xcore_tcav.sources import Given

_BLOCK = 20  # concepts that are judged together, so that the classifier still knows their activations for the CAVs


@dataclass(frozen=True, eq=False)
class Relative:
    """A concept against other concepts in the place of random sets."""

    ts: float
    effect: float
    lo: float
    hi: float
    """95 % interval of the effect (nan if there is one set of negatives)."""
    accuracy: float
    cav: Tensor
    """(d,) mean of the unit CAVs."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """One concept at one layer."""

    score: SetScore
    p: float
    null_effect: Floats
    """(J,) effects of counterpart sets."""
    null_ts: Floats
    relative: Relative | None
    cav: Tensor
    """(d,) mean of the R unit CAVs (of the relative ones, if there are any)."""
    local: Tensor
    """(m,) sensitivity of each class sample along `cav`, over the mean gradient norm; its mean is `effect`."""

    @property
    def effect(self) -> float:
        return self.relative.effect if self.relative else self.score.effect

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.relative.lo, self.relative.hi) if self.relative else (self.score.effect_lo, self.score.effect_hi)

    @property
    def accuracy(self) -> float:
        return self.relative.accuracy if self.relative else self.score.accuracy


@dataclass(frozen=True, eq=False)
class Layer:
    """All concepts at one layer."""

    name: str
    verdicts: tuple[Verdict, ...]
    unit: float
    """Mean gradient norm of the class samples: what effects are measured in."""
    null_sets: int


def open_scorer(task: Task, layer: str, o: Options) -> Scorer:
    """The scorer of the class at a layer; raises `NotApplicable` where TCAV is undefined."""
    return Scorer(
        task.classifier.open(layer),
        task.target,
        task.samples,
        task.contrast,
        negatives=o.negatives,
        pool=o.pool,
        folds=o.folds,
    )


def judge(scorer: Scorer, layer: str, given: Sequence[Given], task: Task, o: Options, j: int) -> Layer:
    """Score all concepts at a layer; what does not depend on the concept is computed once.

    Parameters
    ----------
    j
        Counterpart sets of the null.
    """
    render = given[0].render
    _check_sizes(scorer, given, task)
    acts = [scorer.activations(g.fitted) for g in given] if o.against else []
    verdicts = []
    for start in range(0, len(given), _BLOCK):
        block = given[start : start + _BLOCK]
        scores = scorer.score_many([g.fitted for g in block], render)
        for i, (g, score) in enumerate(zip(block, scores, strict=True), start):
            if o.against == g.name:
                continue
            null = scorer.null(j, score.n, render)
            p = scorer.p_value(score, j) if o.test == "rank" else scorer.welch_p_value(score)
            relative = _relative(scorer, acts, i, _others(given, i, o), o, task.seed) if o.against else None
            cav = relative.cav if relative else scorer.cavs(g.fitted, render).mean(0)
            local = scorer.local(cav)
            verdicts.append(Verdict(score, p, null.effect, null.ts, relative, cav.cpu(), local))
    return Layer(layer, tuple(verdicts), float(scorer.units.mean()), j)


def _others(given: Sequence[Given], i: int, o: Options) -> list[int]:
    return [k for k, g in enumerate(given) if (k != i if o.against == "others" else g.name == o.against)]


def _relative(scorer: Scorer, acts: Sequence[Tensor], i: int, others: Sequence[int], o: Options, seed: int) -> Relative:
    """Against one concept: its samples are the one set of negatives. Against several: R random draws from them all.

    With one set, TCAV(C|D) = 1 - TCAV(D|C) where no sensitivity is 0: the CAV is the same, turned round.
    """
    x, pool = acts[i], torch.cat([acts[k] for k in others])
    n = min(len(x), len(pool))
    if len(others) == 1:
        sets = pool[None, :n]
    else:
        rng = np.random.default_rng([seed, 2, i])
        sets = torch.stack([pool[rng.choice(len(pool), n, replace=False)] for _ in range(o.negatives)])
    shared = Negatives(sets, scorer.gradients, scorer.c)
    products = shared.products([x[:n]])
    s = shared.sensitivity(products)[0].numpy()
    lo, hi = interval(s, scorer.units) if len(s) > 1 else (nan, nan)
    return Relative(
        ts=float((s > 0).mean()),
        effect=float(s.mean() / scorer.units.mean()),
        lo=lo,
        hi=hi,
        accuracy=float(shared.accuracy(products, o.folds)[0]),
        cav=normalize(shared.cavs(x[:n]), dim=1).mean(0),
    )


def _check_sizes(scorer: Scorer, given: Sequence[Given], task: Task) -> None:
    """Refuse images of another size than the class's where they give another number of activations."""
    if task.samples.kind != "image":
        return
    size = task.samples.images.shape[2:]
    named = [(f"images of {g.name!r}", g.fitted) for g in given]
    for what, samples in [*named, ("random images", task.contrast(len(given[0].fitted), 0, given[0].render))]:
        other = samples.images.shape[2:]
        if other != size and scorer.activations(samples.take([0])).shape[1] != scorer.gradients.shape[1]:
            raise UsageError(
                f"{what} are {other[0]}x{other[1]}, those of the class {size[0]}x{size[1]}, and the activations of "
                "this layer grow with the image",
                "average them over positions with tcav.pool=true",
            )
