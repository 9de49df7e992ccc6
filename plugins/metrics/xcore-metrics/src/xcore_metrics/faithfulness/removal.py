"""C-insertion, C-deletion and C-muFidelity: does the order of the concepts match their effect on the class score?

Concepts are removed (or inserted) in the order of the explanation, and the area under the curve of the class score is
compared with that of random orders of the same concepts, so that the value measures the order alone. C-muFidelity is
the correlation of the importance of a set of concepts with the change of the score when the set is removed, minus that
of shuffled importances. Concepts can be removed in codes, along directions, in pixels and in words (`activations`,
`regions`, `words`). These are different variants of a score, and are never ranked together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np

from xcore.contract import Run, Score
from xcore_metrics.faithfulness.game import Game
from xcore_metrics.faithfulness.orders import (
    Floats,
    Ints,
    area_under_curve,
    correlations,
    curve_points,
    prefixes,
    random_orders,
    random_permutations,
    random_subsets,
)
from xcore_metrics.faithfulness.variants import ON_EXPLAINED, Variant, variants
from xcore_metrics.options import RemovalOptions

NEEDS = {"auto": (), "codes": ("dictionary",), "direction": ("directions",), "region": ("maps",), "words": ()}
OUTPUTS = ("logit", "probability")
ROUNDING = 1e-6
"""Changes of the class score below this share of it are taken for rounding in single precision."""
SHUFFLES = 200
"""Approximate number of random orders of C-muFidelity; they need no evaluation of the model."""
SEED = 0
"""Seed of the random orders: explanations of the same number of concepts get the same ones."""


class Removal(ABC):
    """What the three metrics share: one score for each variant.

    Score
    -----
    value
        The result of the explanation's order minus the mean of random orders; 0 is no better than a random order.
    spread
        Population standard deviation, over random orders, of the differences (`samples`), each a mean over samples.
    """

    name = ""
    direction: Literal["higher", "lower"] = "higher"
    divides = True
    """Whether results have the unit of the class score and can be divided by it."""

    def __init__(self, options: RemovalOptions | None = None) -> None:
        self.options = options or RemovalOptions()
        self.needs = frozenset(NEEDS[self.options.variant])

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each variant, for the whole explanation."""
        return [self._score(v) for run in runs for v in variants(run, self.options)]

    def _score(self, v: Variant) -> Score:
        o = self.options
        extra = ["probability"] if o.output == "probability" else []
        extra += ["normalised"] if o.normalise and self.divides else []
        extra += ["global order"] if o.order == "global" and v.name.startswith(ON_EXPLAINED) else []
        variant = " ".join([v.name, *extra])
        if v.reason:
            return Score(self.name, reason=v.reason, variant=variant)
        details = self._common_details(v)
        at = OUTPUTS.index(o.output)
        own, random = self._results(v, details)
        if self.divides and o.normalise:
            scale = np.array([details[f"full_{name}"] for name in OUTPUTS])
            if scale[at] <= 0:
                reason = (
                    f"the mean class {o.output} of the unchanged {v.modality}s is not positive, so scores cannot be "
                    "divided by it"
                )
                return Score(self.name, reason=reason, variant=variant)
            scale[scale <= 0] = 1.0
            own, random = own / scale, random / scale
        differences = own[:, None] - random  # images x orders x outputs
        each = differences.mean(0)
        better = each[:, at] > 0 if self.direction == "higher" else each[:, at] < 0
        details |= {
            "own": float(own[:, at].mean()),
            "random": float(random[:, :, at].mean()),
            "better_than": float(better.mean()),
            f"sd_{v.modality}s": float(differences.mean(1)[:, at].std()),
        }
        details |= {f"value_{name}": float(each[:, i].mean()) for i, name in enumerate(OUTPUTS)}
        samples = each[:, at]
        return Score(
            self.name,
            value=float(samples.mean()),
            variant=variant,
            spread=float(samples.std()),
            over="random orders",
            n=len(samples),
            samples=tuple(samples.tolist()),
            details=details,
        )

    def _common_details(self, v: Variant) -> dict[str, float]:
        o = self.options
        ends = [(g.removed(np.zeros((1, k), bool)), g.removed(np.ones((1, k), bool))) for g, k in _sized(v.games)]
        full, empty = (np.concatenate([end[i] for end in ends])[:, 0].mean(0) for i in (0, 1))
        return {
            f"{v.modality}s": float(sum(len(g.order) for g in v.games)),
            "left_out": float(v.left_out),
            "concepts": float(np.mean([k for _, k in _sized(v.games)])),
            "local_order": float(v.local),
            "probability": float(o.output == "probability"),
            "normalised": float(o.normalise and self.divides),
            **{f"full_{name}": float(full[i]) for i, name in enumerate(OUTPUTS)},
            **{f"empty_{name}": float(empty[i]) for i, name in enumerate(OUTPUTS)},
        }

    @abstractmethod
    def _results(self, v: Variant, details: dict[str, float]) -> tuple[Floats, Floats]:
        """Results of the explanation's order (samples, outputs), and of random orders (samples, orders, outputs)."""


class Curve(Removal):
    """Area under the curve of the class score along an order; the x axis is the share of concepts, from 0 to 1."""

    inserts = False

    def _results(self, v: Variant, details: dict[str, float]) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(SEED)
        own, random, taken = [], [], []
        most = max(k for _, k in _sized(v.games))
        for game, k in _sized(v.games):
            counts = curve_points(k, self.options.steps)
            taken.append(len(counts) - 1)
            orders = random_orders(k, self.options.circles, self.options.steps, rng)
            # the same number for each image, if images have concepts of their own
            orders = np.resize(orders, (2 * min(most, self.options.steps) * self.options.circles, k))
            scores = game.inserted if self.inserts else game.removed
            own.append(_area(scores(prefixes(game.order, counts)), counts))
            sets = prefixes(orders, counts)
            y = scores(sets.reshape(-1, sets.shape[-1]))
            random.append(_area(y.reshape(len(y), *sets.shape[:2], -1), counts))
        details["steps"] = float(np.mean(taken))
        return np.concatenate(own), np.concatenate(random)


class Insertion(Curve):
    """The metric C-insertion: concepts are inserted one after the other, most important first; higher is better."""

    name, direction, inserts = "C-insertion", "higher", True


class Deletion(Curve):
    """The metric C-deletion: concepts are removed one after the other, most important first; lower is better."""

    name, direction, inserts = "C-deletion", "lower", False


class MuFidelity(Removal):
    """The metric C-muFidelity, in [-2, 2]: correlation of the importance of concepts with the loss of class score.

    The correlation is over sets of half of the concepts, of their summed importance with the loss when the set is
    removed. It is computed for each sample and averaged. A sample whose score does not change, or whose importances are
    all equal, counts as 0; the details say how many (`flat`).
    """

    name, direction, divides = "C-muFidelity", "higher", False  # a correlation has no unit

    def _results(self, v: Variant, details: dict[str, float]) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(SEED)
        own, random, used = [], [], []
        several = len(v.games) > 1
        for game, k in _sized(v.games):
            orders = random_permutations(k, SHUFFLES, rng)
            orders = np.resize(orders, (SHUFFLES, k)) if several else orders  # the same number for each image
            sets = random_subsets(k, self.options.subsets, rng)
            used.append(len(sets))
            full = game.removed(np.zeros((1, k), bool))
            loss = full - game.removed(sets)
            loss[np.abs(loss) <= ROUNDING * np.abs(full)] = 0.0
            loss = loss.swapaxes(1, 2)  # images, outputs, sets
            own.append(correlations((game.importance @ sets.T)[:, None], loss))
            shuffled = game.importance[:, orders]  # images, orders, concepts
            random.append(correlations((shuffled @ sets.T)[:, :, None], loss[:, None]))
        found, of = np.concatenate(own), np.concatenate(random)
        details["flat"] = float(np.isnan(found[:, OUTPUTS.index(self.options.output)]).sum())
        details["sets"] = float(np.mean(used))
        return np.nan_to_num(found), np.nan_to_num(of)


def _area(y: Floats, counts: Ints) -> Floats:
    """Areas (..., outputs) under the curves (..., points, outputs)."""
    return area_under_curve(np.moveaxis(y, -1, -2), counts)


def _sized(games: Sequence[Game]) -> list[tuple[Game, int]]:
    """The games with their numbers of concepts."""
    return [(g, g.order.shape[1]) for g in games]


def insertion(options: RemovalOptions | None = None) -> Insertion:
    """The metric C-insertion."""
    return Insertion(options)


def deletion(options: RemovalOptions | None = None) -> Deletion:
    """The metric C-deletion."""
    return Deletion(options)


def mu_fidelity(options: RemovalOptions | None = None) -> MuFidelity:
    """The metric C-muFidelity."""
    return MuFidelity(options)
