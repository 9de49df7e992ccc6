"""The metrics TS and alpha-TCAV: scores on samples that no method has seen, each beside its null distribution."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias, get_args

import numpy as np
from cachetools import LRUCache
from scipy.special import expit
from xcore_evidence.statistics import signed_marks

from xcore.contract import Concept, NotApplicable, Purpose, Run, Samples, Score
from xcore_tcav.inference import Floats, interval, rank_p
from xcore_tcav.options import AlphaTcavOptions, TSOptions
from xcore_tcav.scorer import NullDistribution, Scorer, SetScore

_SCORERS_KEPT = 4  # each holds (R n + m) x d floats

Scorers: TypeAlias = LRUCache[str, tuple[object, Scorer]]
"""Digest -> the classifier, which is held so that no other one gets its id, and the scorer."""

_shared: Scorers = LRUCache(_SCORERS_KEPT)
"""The scorers that TS and alpha-TCAV share: gradients, negative sets and null distributions are the same for both."""


@dataclass(frozen=True, eq=False)
class Tested:
    """The score of one concept at one layer, and its test."""

    each: Floats
    """(R,) the score against each random set; the value is their mean."""
    p: float
    p_against: float
    """One-sided p-values before Holm's correction."""
    details: Mapping[str, float]


class TS:
    """TCAV score of every concept that has samples, against random sets that are rendered like them.

    The value, in [0, 1], is the share of held-out class samples whose logit rises along the concept's CAV, averaged
    over R random sets (Kim et al. 2018). Rank tests at the level of sets decide whether the score means anything: the
    concept's mean sensitivity is ranked among those of J random sets that are made like it (`Scorer.null`). A mark says
    that the concept raises (+1) or lowers (-1) the class, with Holm's correction over the concepts and layers of the
    explanation on each side (`xcore_tcav.inference.rank_p`).

    Scorers are cached under digests of all that they are made from: class samples, random sets, and the activations and
    gradients of the model. So explanations of one class share gradients, negative sets and null distributions, and a
    model or data set that changed under the same name gets a new scorer.

    Parameters
    ----------
    options
        See `TSOptions`; None = the defaults.
    scorers
        Where scorers are kept, each for one object of a classifier, since metrics are made anew after harm to a model,
        and this outlasts them; None = in this metric alone.
    """

    name = "TS"
    direction = "higher"
    needs = frozenset({"samples"})

    def __init__(self, options: TSOptions | None = None, scorers: Scorers | None = None) -> None:
        self.options = options or TSOptions()
        self._shares = scorers is not None
        self._scorers: Scorers = LRUCache(_SCORERS_KEPT) if scorers is None else scorers

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score per concept and layer; without a value but with the reason where a concept cannot be scored."""
        return [score for run in runs for score in self._score_run(run)]

    def _score_run(self, run: Run) -> list[Score]:
        layers = self.options.layers or _layers(run)
        concepts = run.explanation.concepts
        scores: list[Score] = []
        tested: list[tuple[int, str, Tested]] = []
        for layer in layers:
            scorer: Scorer | None
            try:
                scorer, reason = self._scorer(run, layer), ""
            except NotApplicable as error:
                scorer, reason = None, str(error)
            for i, concept in enumerate(concepts):
                try:
                    if scorer is None:
                        raise NotApplicable(reason)
                    found = scorer.score(self._samples(run, concept), concept.render)
                    null = self._null(scorer, found, concept)
                    tested.append((i, layer, self._tested(scorer, found, null)))
                except NotApplicable as error:
                    scores.append(Score(self.name, i, reason=str(error), variant=self._variant(layer)))
        raises, lowers = [t.p for *_, t in tested], [t.p_against for *_, t in tested]
        marks, corrected = signed_marks(raises, lowers, self.options.alpha)
        for (i, layer, test), p_holm, mark in zip(tested, corrected, marks, strict=True):
            details = {**test.details, "p": test.p, "p_against": test.p_against, "p_holm": p_holm}
            details |= {"mark": float(mark), "outside": float(mark != 0)}
            scores.append(
                Score(
                    self.name,
                    i,
                    value=float(test.each.mean()),
                    variant=self._variant(layer),
                    spread=float(test.each.std(ddof=1)) if len(test.each) > 1 else None,
                    over="random sets",
                    n=len(test.each),
                    samples=tuple(test.each.tolist()),
                    details={k: v for k, v in details.items() if isfinite(v)},
                )
            )
        order = [self._variant(layer) for layer in layers]
        return sorted(scores, key=lambda s: (order.index(s.variant), s.concept))

    def _variant(self, layer: str) -> str:
        return layer

    def _tested(self, scorer: Scorer, found: SetScore, null: NullDistribution) -> Tested:
        """The score of a concept, with its test before Holm's correction."""
        by_rank = self.options.test == "rank"
        p, p_against = rank_p(found.effect, null.effect) if by_rank else scorer.welch_p_values(found)
        return Tested(found.ts_each, p, p_against, self._details(found, null.ts) | self._effects(found, null))

    def _samples(self, run: Run, concept: Concept) -> Samples:
        """The samples of a concept that are scored: the first n."""
        if concept.samples is None:
            raise NotApplicable("the concept has no samples")
        if concept.samples.modality != run.heldout.modality:
            raise NotApplicable(
                f"the concept's samples are of modality {concept.samples.modality}, but the classifier reads "
                f"{run.heldout.modality}"
            )
        return concept.samples.take(slice(self.options.n)) if len(concept.samples) > self.options.n else concept.samples

    def _null(self, scorer: Scorer, found: SetScore, concept: Concept) -> NullDistribution:
        """What takes the place of a concept; of drawn ones, those of its own phrase are left out."""
        null = scorer.null(self.options.null, found.n, found.render, self.options.counterparts)
        return null.without(concept.words[0] if concept.words else concept.name)

    def _details(self, found: SetScore, null: Floats) -> dict[str, float]:
        lo, hi = np.quantile(null, (0.025, 0.975))
        return {
            "null_mean": float(null.mean()),
            "null_lo": float(lo),
            "null_hi": float(hi),
            "cav_accuracy": found.accuracy,
            "set_size": float(found.n),
            "null_sets": float(len(null)),
            "calibrated": float(self.options.test == "rank"),
        }

    @staticmethod
    def _effects(found: SetScore, null: NullDistribution) -> dict[str, float]:
        lo, hi = np.quantile(null.effect, (0.025, 0.975))
        return {
            "effect": found.effect,
            "effect_lo": found.effect_lo,
            "effect_hi": found.effect_hi,
            "effect_null_mean": float(null.effect.mean()),
            "effect_null_lo": float(lo),
            "effect_null_hi": float(hi),
        }

    def _scorer(self, run: Run, layer: str) -> Scorer:
        """The scorer of this class at this layer, made once for the same content."""
        task, heldout, options = run.task, run.heldout, self.options
        missing = {"activations", "gradients"} - task.classifier.can
        if missing:
            raise NotApplicable(f"the classifier offers no {' and no '.join(sorted(missing))}")
        probe = task.classifier.open(layer)
        how = (options.negatives, options.pool, options.folds)
        owner = id(task.classifier) if self._shares else None
        key = hashlib.sha256(repr((layer, task.target, heldout.digest, how, owner)).encode())
        few = heldout.take(slice(2))
        for tensor in (probe.activations(few), probe.gradients(few, task.target)):
            key.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        for purpose in get_args(Purpose):
            key.update(run.heldout_random_set(2, 0, "as-is", purpose).digest.encode())
        name = key.hexdigest()
        if name not in self._scorers:
            made = Scorer(
                probe,
                task.target,
                heldout,
                run.heldout_random_set,
                negatives=options.negatives,
                pool=options.pool,
                folds=options.folds,
            )
            self._scorers[name] = task.classifier, made
        scorer: Scorer = self._scorers[name][1]
        scorer.random_set = run.heldout_random_set  # the same sets, and the adapters of this run's explanation
        return scorer


def _layers(run: Run) -> tuple[str, ...]:
    """The layers of the explanation's own CAVs, as of `tcav.layers`; else the layer that the method was asked for.

    A direction of a dictionary is no CAV: its layer may have an affine head, where TS is undefined.
    """
    if run.explanation.dictionary is not None:
        return (run.task.layer,)
    return tuple(dict.fromkeys(layer for c in run.explanation.concepts for layer in c.directions)) or (run.task.layer,)


class AlphaTcav(TS):
    """A smooth TS: the mean of sigmoid(alpha g.v / scale) in place of the share of class samples with g.v > 0.

    g.v is the sensitivity of a class sample to a CAV, and the scale the median of its size over the CAVs of the null
    distribution, so that alpha has no unit. With alpha to infinity the value is TS; with alpha to 0, 4 (value - 1/2) /
    alpha is the mean of g.v / scale. Samples whose logit hardly changes along the CAV count as 1/2, and not as a yes or
    no that another draw of the concept's samples would turn. The score is ranked among the same score of the random
    sets of the null distribution.

    Source: after arXiv:2605.15688, which was read in its abstract only, so that no figure is meant to equal one of its
    own.
    """

    name = "alpha-TCAV"

    def __init__(self, options: AlphaTcavOptions | None = None, scorers: Scorers | None = None) -> None:
        options = options or AlphaTcavOptions()
        super().__init__(options, scorers)
        self.sharpness = options.sharpness

    def _variant(self, layer: str) -> str:
        return layer if self.sharpness == AlphaTcavOptions().sharpness else f"{layer} alpha {self.sharpness:g}"

    def _tested(self, scorer: Scorer, found: SetScore, null: NullDistribution) -> Tested:
        scale = scale_of(null.sensitivity)
        own = smooth(found.sensitivity, scale, self.sharpness)
        by_chance = smooth(null.sensitivity, scale, self.sharpness).mean((1, 2))
        p, p_against = rank_p(float(own.mean()), by_chance)
        lo, hi = interval(own, np.ones(own.shape[1])) if len(own) > 1 else (np.nan, np.nan)
        more = {"lo": lo, "hi": hi, "scale": scale, "null_sd": float(by_chance.std()), "ts": found.ts}
        return Tested(own.mean(1), p, p_against, self._details(found, by_chance) | more)


def smooth(sensitivity: Floats, scale: float, sharpness: float) -> Floats:
    """sigmoid(sharpness * sensitivity / scale), in [0, 1]."""
    found: Floats = expit(sharpness * sensitivity / scale)
    return found


def scale_of(null: Floats) -> float:
    """The median size of the sensitivities of random CAVs; raises `NotApplicable` if it is 0."""
    scale = float(np.median(np.abs(null)))
    if scale == 0:
        raise NotApplicable("half of the sensitivities to random sets are 0 at this layer, so there is no scale")
    return scale


def ts(options: TSOptions | None = None) -> TS:
    """The metric TS, which shares what does not depend on the concept with alpha-TCAV."""
    return TS(options, _shared)


def alpha_tcav(options: AlphaTcavOptions | None = None) -> AlphaTcav:
    """The metric alpha-TCAV, which shares the same with TS."""
    return AlphaTcav(options, _shared)
