"""Surrogate faithfulness: how much of the logits of all classes a linear map of the concepts' scores gives back.

From the concepts' scores s(x), as the method itself finds them in any sample, one ridge map is fitted to the logits of
all classes on samples that methods may see. On held-out samples its outputs are compared with those of the model: by
the share of the logits' variance that it explains (R2), and by the divergence of the probabilities (KL). Beside it
stands the same for random concepts of the same kind.

Source: after arXiv:2504.10833, which was read in its abstract only, so that no figure is meant to equal one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xcore.contract import NotApplicable, Run, Samples, Score
from xcore.models.outputs import Scores, probabilities, scores_of
from xcore_metrics.asking.concept_scores import Scoring, concept_scores
from xcore_metrics.asking.linear import fit_map
from xcore_metrics.asking.ranks import DRAWS, Floats
from xcore_metrics.options import SurrogateFaithfulnessOptions
from xcore_metrics.pools import heldout_pool, training_pool

Ints = NDArray[np.int64]
NAME = "surrogate-faithfulness"
SEED = 0
"""Of the random concepts and of the bootstrap: explanations with as many concepts get the same draws."""
TINY = 1e-12
"""Least probability in a divergence."""


@dataclass(frozen=True, eq=False)
class Losses:
    """What a surrogate loses on each of n held-out samples."""

    squared: Floats
    """(n,) squared error over all classes."""
    target: Floats
    """(n,) squared error of the logit of the explained class."""
    kl: Floats
    """(n,) divergence of its probabilities from those of the model, in nats."""
    penalty: float


class SurrogateFaithfulness:
    """R2 of a linear map from concept scores to the logits of all classes, on held-out samples; at most 1.

    0 is what the mean logits of the training samples give, and it may be negative. `chance` is the mean over draws of
    as many random concepts of the same kind: random activations as atoms, differences of two of them as directions,
    random phrases of the vocabulary as words. `difference` is the value less chance, with a 95 % bootstrap interval
    over held-out samples and random draws; the fits are taken as they are.
    """

    direction: Literal["higher"] = "higher"
    needs: frozenset[str] = frozenset()

    def __init__(self, options: SurrogateFaithfulnessOptions | None = None) -> None:
        self.options = options or SurrogateFaithfulnessOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each explanation."""
        return [self._run(run) for run in runs]

    def _run(self, run: Run) -> Score:
        try:
            return self._score(run)
        except NotApplicable as error:
            return Score(NAME, reason=str(error))

    def _score(self, run: Run) -> Score:
        if not run.explanation.concepts:
            raise NotApplicable("the explanation has no concepts")
        train, heldout = training_pool(run, self.options.others), heldout_pool(run, self.options.others)
        found = concept_scores(run, train)
        y, truth = (run.task.classifier.logits(samples).double() for samples in (train, heldout))
        seen = y.isfinite().all(0) & truth.isfinite().all(0)  # some classifiers mask classes
        target = int(seen[: run.task.target].sum())
        scores, y, truth = scores_of(run.task.classifier), y[:, seen], truth[:, seen]
        if float(truth.var(0).sum()) <= TINY:
            raise NotApplicable("the classifier gives the same logits to every held-out sample")

        def losses(scoring: Scoring) -> Losses:
            return _losses(scoring, train, heldout, y, truth, target, scores)

        base = (truth - y.mean(0)).square()
        whole, of_class = base.sum(1).numpy(), base[:, target].numpy()
        own = losses(found.of)
        details = {
            "loss": _share(own.squared, whole),
            "kl": float(own.kl.mean()),
            "target_r2": 1 - _share(own.target, of_class),
            "penalty": own.penalty,
            "concepts": float(len(found.concepts)),
            "classes": float(truth.shape[1]),
            "train_samples": float(len(train)),
            "heldout_samples": float(len(heldout)),
        }
        rows = np.random.default_rng(SEED).integers(len(heldout), size=(DRAWS, len(heldout)))
        resampled = 1 - own.squared[rows].sum(1) / whole[rows].sum(1)
        random = [losses(found.random(np.random.default_rng([SEED, i]))) for i in range(self.options.random)]
        details |= _beside(own, random, whole, of_class, rows)
        return Score(
            NAME,
            value=1 - _share(own.squared, whole),
            variant=found.variant,
            spread=float(resampled.std()),
            over="held-out samples, drawn with replacement",
            n=len(heldout),
            details=details,
        )


def _beside(own: Losses, random: list[Losses], whole: Floats, of_class: Floats, rows: Ints) -> dict[str, float]:
    """The figures of random concepts, and the differences with their intervals."""
    squared, kl = np.stack([r.squared for r in random]), np.stack([r.kl for r in random])
    chances = 1 - squared.sum(1) / whole.sum()
    rng = np.random.default_rng([SEED, len(random)])
    drawn = rng.integers(len(random), size=(len(rows), len(random)))
    r2, nats = np.empty(len(rows)), np.empty(len(rows))
    for b, (samples, draws) in enumerate(zip(rows, drawn, strict=True)):
        mean = squared[draws].mean(0)
        r2[b] = (mean - own.squared)[samples].sum() / whole[samples].sum()
        nats[b] = (own.kl - kl[draws].mean(0))[samples].mean()
    value = 1 - own.squared.sum() / whole.sum()
    (lo, hi), (kl_lo, kl_hi) = (np.quantile(x, (0.025, 0.975)) for x in (r2, nats))
    return {
        "chance": float(chances.mean()),
        "chance_lo": float(chances.min()),
        "chance_hi": float(chances.max()),
        "difference": float(value - chances.mean()),
        "difference_lo": float(lo),
        "difference_hi": float(hi),
        "better_than": float((chances < value).mean()),
        "kl_chance": float(kl.mean()),
        "kl_difference": float(own.kl.mean() - kl.mean()),
        "kl_difference_lo": float(kl_lo),
        "kl_difference_hi": float(kl_hi),
        "target_r2_chance": float(np.mean([1 - _share(r.target, of_class) for r in random])),
    }


def _losses(
    scoring: Scoring, train: Samples, heldout: Samples, y: Tensor, truth: Tensor, target: int, scores: Scores
) -> Losses:
    fitted = fit_map(scoring(train), y)
    made = fitted(scoring(heldout))
    errors = (made - truth).square()
    return Losses(
        errors.sum(1).numpy(), errors[:, target].numpy(), divergence(truth, made, scores).numpy(), fitted.penalty
    )


def divergence(logits: Tensor, others: Tensor, scores: Scores) -> Tensor:
    """(n,) KL divergence in nats of what `others` (n, c) mean from what `logits` mean, as the scores are read.

    Where classes do not exclude one another, it is summed over classes; probabilities are cut to [0, 1].
    """
    if scores == "exclusive":
        p, q = logits.log_softmax(1), others.log_softmax(1)
        return (p.exp() * (p - q)).sum(1)
    p, q = (probabilities(x, scores).clamp(TINY, 1 - TINY) for x in (logits, others))
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1)


def _share(part: Floats, whole: Floats) -> float:
    return float(part.sum() / max(whole.sum(), TINY))


def surrogate_faithfulness(options: SurrogateFaithfulnessOptions | None = None) -> SurrogateFaithfulness:
    """The metric surrogate-faithfulness."""
    return SurrogateFaithfulness(options)
