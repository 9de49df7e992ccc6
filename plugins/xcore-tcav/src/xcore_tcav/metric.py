"""The metric TS: TCAV scores on samples that no method has seen, with a null beside every score."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from math import isfinite

import numpy as np

from xcore.contrast import NULL
from xcore.errors import NotApplicable
from xcore.protocols import Run
from xcore.types import Concept, Samples, Score
from xcore_tcav.inference import holm, null_size
from xcore_tcav.options import TSOptions
from xcore_tcav.scorer import Scorer, SetScore

_KEPT = 4  # scorers held at once: one is (R n + m) x d floats


class TS:
    """TCAV score of every concept with samples, against random sets that are rendered like them.

    The value is the share of held-out class samples whose logit rises along the concept's CAV, mean over R random sets.
    Whether it says anything is told by a rank test at the level of sets: the mean sensitivity of the concept among that
    of J counterpart sets of the same size and rendering, Holm-corrected over the concepts and layers of the explanation
    (`xcore_tcav.inference.rank_p`, `holm`).

    Scorers are kept under digests of everything they are made from (class samples, random sets, and what the model does
    with samples), so explanations of one class share gradients, negatives and nulls, and a model or data set that has
    changed under the same name is noticed.

    Parameters
    ----------
    options
        See `TSOptions`; None = the defaults.
    """

    direction = "higher"
    needs = frozenset({"samples"})

    def __init__(self, options: TSOptions | None = None) -> None:
        self.options = options or TSOptions()
        self._scorers: OrderedDict[str, Scorer] = OrderedDict()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score per concept and layer; n/a with the reason where a concept cannot be scored."""
        return [score for run in runs for score in self._run(run)]

    def _run(self, run: Run) -> list[Score]:
        layers = self.options.layers or (run.task.layer,)
        concepts = run.explanation.concepts
        size = null_size(self.options.null, len(concepts) * len(layers), self.options.alpha)
        scores: list[Score] = []
        tested: list[tuple[int, str, SetScore, Scorer, float]] = []
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
                    p = scorer.p_value(found, size) if self.options.test == "rank" else scorer.welch_p_value(found)
                    tested.append((i, layer, found, scorer, p))
                except NotApplicable as error:
                    scores.append(Score("TS", i, reason=str(error), variant=layer))
        corrected = holm([p for *_, p in tested])
        for (i, layer, found, scorer, p), p_holm in zip(tested, corrected, strict=True):
            details = self._details(found, scorer, size) | {"p": p, "p_holm": p_holm}
            details["outside"] = float(p_holm <= self.options.alpha)
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
        if concept.samples is None:
            raise NotApplicable("the concept has no samples")
        if concept.samples.kind != run.heldout.kind:
            raise NotApplicable(
                f"the concept's samples are {concept.samples.kind}, the classifier's {run.heldout.kind}"
            )
        return concept.samples.take(slice(self.options.n)) if len(concept.samples) > self.options.n else concept.samples

    def _details(self, found: SetScore, scorer: Scorer, j: int) -> dict[str, float]:
        null = scorer.null(j, found.n, found.render)
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
            "null_sets": float(j),
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
        for index in (0, NULL):
            key.update(run.heldout_contrast(2, index, "as-is").digest.encode())
        name = key.hexdigest()
        if name not in self._scorers:
            self._scorers[name] = Scorer(
                probe,
                task.target,
                heldout,
                run.heldout_contrast,
                negatives=options.negatives,
                pool=options.pool,
                folds=options.folds,
            )
            while len(self._scorers) > _KEPT:
                self._scorers.popitem(last=False)
        self._scorers.move_to_end(name)
        return self._scorers[name]
