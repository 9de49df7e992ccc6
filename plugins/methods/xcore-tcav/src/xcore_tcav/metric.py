"""The metric TS: TCAV scores on samples that no method has seen, each beside its null distribution."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import isfinite
from typing import get_args

import numpy as np
from cachetools import LRUCache
from xcore_evidence.statistics import signed_marks

from xcore.contract import Concept, NotApplicable, Purpose, Run, Samples, Score
from xcore_tcav.inference import rank_p
from xcore_tcav.options import TSOptions
from xcore_tcav.scorer import NullDistribution, Scorer, SetScore

_SCORERS_KEPT = 4  # each holds (R n + m) x d floats


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
    """

    direction = "higher"
    needs = frozenset({"samples"})

    def __init__(self, options: TSOptions | None = None) -> None:
        self.options = options or TSOptions()
        self._scorers: LRUCache[str, Scorer] = LRUCache(_SCORERS_KEPT)

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score per concept and layer; without a value but with the reason where a concept cannot be scored."""
        return [score for run in runs for score in self._score_run(run)]

    def _score_run(self, run: Run) -> list[Score]:
        layers = self.options.layers or _layers(run)
        concepts = run.explanation.concepts
        scores: list[Score] = []
        tested: list[tuple[int, str, SetScore, NullDistribution, tuple[float, float]]] = []
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
                    by_rank = self.options.test == "rank"
                    both = rank_p(found.effect, null.effect) if by_rank else scorer.welch_p_values(found)
                    tested.append((i, layer, found, null, both))
                except NotApplicable as error:
                    scores.append(Score("TS", i, reason=str(error), variant=layer))
        raises, lowers = [p for *_, (p, _) in tested], [p for *_, (_, p) in tested]
        marks, corrected = signed_marks(raises, lowers, self.options.alpha)
        for (i, layer, found, null, (p, p_against)), p_holm, mark in zip(tested, corrected, marks, strict=True):
            details = self._details(found, null) | {"p": p, "p_against": p_against, "p_holm": p_holm}
            details |= {"mark": float(mark), "outside": float(mark != 0)}
            scores.append(
                Score(
                    "TS",
                    i,
                    value=found.ts,
                    variant=layer,
                    spread=found.ts_std,
                    over="random sets",
                    n=len(found.ts_each),
                    samples=tuple(found.ts_each.tolist()),
                    details={k: v for k, v in details.items() if isfinite(v)},
                )
            )
        return sorted(scores, key=lambda s: (layers.index(s.variant), s.concept))

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

    def _details(self, found: SetScore, null: NullDistribution) -> dict[str, float]:
        (lo, hi), (effect_lo, effect_hi) = (np.quantile(x, (0.025, 0.975)) for x in (null.ts, null.effect))
        return {
            "null_mean": float(null.ts.mean()),
            "null_lo": float(lo),
            "null_hi": float(hi),
            "effect": found.effect,
            "effect_lo": found.effect_lo,
            "effect_hi": found.effect_hi,
            "effect_null_mean": float(null.effect.mean()),
            "effect_null_lo": float(effect_lo),
            "effect_null_hi": float(effect_hi),
            "cav_accuracy": found.accuracy,
            "set_size": float(found.n),
            "null_sets": float(len(null.effect)),
            "calibrated": float(self.options.test == "rank"),
        }

    def _scorer(self, run: Run, layer: str) -> Scorer:
        """The scorer of this class at this layer, made once for the same content."""
        task, heldout, options = run.task, run.heldout, self.options
        missing = {"activations", "gradients"} - task.classifier.can
        if missing:
            raise NotApplicable(f"the classifier offers no {' and no '.join(sorted(missing))}")
        probe = task.classifier.open(layer)
        key = hashlib.sha256(repr((layer, task.target, heldout.digest)).encode())
        few = heldout.take(slice(2))
        for tensor in (probe.activations(few), probe.gradients(few, task.target)):
            key.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        for purpose in get_args(Purpose):
            key.update(run.heldout_random_set(2, 0, "as-is", purpose).digest.encode())
        name = key.hexdigest()
        if name not in self._scorers:
            self._scorers[name] = Scorer(
                probe,
                task.target,
                heldout,
                run.heldout_random_set,
                negatives=options.negatives,
                pool=options.pool,
                folds=options.folds,
            )
        scorer: Scorer = self._scorers[name]
        scorer.random_set = run.heldout_random_set  # the same sets, and the adapters of this run's explanation
        return scorer


def _layers(run: Run) -> tuple[str, ...]:
    """The layers of the explanation's own CAVs, as of `tcav.layers`; else the layer that the method was asked for.

    A direction of a dictionary is no CAV: its layer may have an affine head, where TS is undefined.
    """
    if run.explanation.dictionary is not None:
        return (run.task.layer,)
    return tuple(dict.fromkeys(layer for c in run.explanation.concepts for layer in c.directions)) or (run.task.layer,)
