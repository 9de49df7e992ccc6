"""C-insertion, C-deletion and C-muFidelity: does the order of the concepts tell what they do to the class score?

Concepts are removed (or inserted) in the explanation's order, and the area under the class score is compared with that
of random orders of the same concepts: what remains is worth of the order alone. C-muFidelity is the correlation
between the importance of a set of concepts and the change of the score when the set is removed, less that of shuffled
importances. Removing a concept is a different experiment in codes, along directions, in pixels and in words
(`activations`, `regions`, `words`), so the variant is named and never ranked against another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np

from xcore.protocols import Run
from xcore.types import Score
from xcore_metrics.faithfulness.experiments import EXPLAINED, Experiment, experiments
from xcore_metrics.faithfulness.game import Game
from xcore_metrics.faithfulness.options import RemovalOptions
from xcore_metrics.faithfulness.orders import (
    Floats,
    Ints,
    area,
    correlations,
    firsts,
    random_orders,
    random_sets,
    shuffles,
    stops,
)

NEEDS = {"auto": (), "codes": ("dictionary",), "direction": ("directions",), "region": ("maps",), "words": ()}
OUTPUTS = ("logit", "probability")
ROUNDING = 1e-6
"""Changes of the class score below this share of it are rounding in single precision."""
SHUFFLES = 200
"""Random orders of C-muFidelity, about so many: they ask the model nothing."""
SEED = 0
"""The random orders are the same for every explanation of as many concepts: methods meet the same draws."""


class Removal(ABC):
    """What the three metrics share: one score an experiment.

    Score
    -----
    value
        The figure of the explanation's order less the mean of random orders; 0 is no better than a random order.
    spread
        Population standard deviation over random orders of the differences (`samples`), of means over images.
    """

    name = ""
    direction: Literal["higher", "lower"] = "higher"
    divides = True
    """Whether figures have the unit of the class score, by which they can be divided."""

    def __init__(self, options: RemovalOptions | None = None) -> None:
        self.options = options or RemovalOptions()
        self.needs = frozenset(NEEDS[self.options.variant])

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score an experiment, for the whole explanation."""
        return [self._score(e) for run in runs for e in experiments(run, self.options)]

    def _score(self, e: Experiment) -> Score:
        o = self.options
        extra = ["probability"] if o.output == "probability" else []
        extra += ["normalised"] if o.normalise and self.divides else []
        extra += ["global order"] if o.order == "global" and e.variant.startswith(EXPLAINED) else []
        variant = " ".join([e.variant, *extra])
        if e.reason:
            return Score(self.name, reason=e.reason, variant=variant)
        details = self._common(e)
        at = OUTPUTS.index(o.output)
        own, random = self._figures(e, details)
        if self.divides and o.normalise:
            scale = np.array([details[f"full_{name}"] for name in OUTPUTS])
            if scale[at] <= 0:
                reason = (
                    f"the mean class {o.output} of the untouched {e.samples}s is not positive: nothing to divide by"
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
            f"sd_{e.samples}s": float(differences.mean(1)[:, at].std()),
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

    def _common(self, e: Experiment) -> dict[str, float]:
        o = self.options
        ends = [(g.removed(np.zeros((1, k), bool)), g.removed(np.ones((1, k), bool))) for g, k in _sized(e.games)]
        full, empty = (np.concatenate([end[i] for end in ends])[:, 0].mean(0) for i in (0, 1))
        return {
            f"{e.samples}s": float(sum(len(g.order) for g in e.games)),
            "left_out": float(e.left_out),
            "concepts": float(np.mean([k for _, k in _sized(e.games)])),
            "local_order": float(e.local),
            "probability": float(o.output == "probability"),
            "normalised": float(o.normalise and self.divides),
            **{f"full_{name}": float(full[i]) for i, name in enumerate(OUTPUTS)},
            **{f"empty_{name}": float(empty[i]) for i, name in enumerate(OUTPUTS)},
        }

    @abstractmethod
    def _figures(self, e: Experiment, details: dict[str, float]) -> tuple[Floats, Floats]:
        """(images, outputs) of the explanation's order and (images, orders, outputs) of random ones."""


class Curve(Removal):
    """Area under the class score along an order; the x axis is the share of concepts done, from 0 to 1."""

    inserts = False

    def _figures(self, e: Experiment, details: dict[str, float]) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(SEED)
        own, random, taken = [], [], []
        most = max(k for _, k in _sized(e.games))
        for game, k in _sized(e.games):
            counts = stops(k, self.options.steps)
            taken.append(len(counts) - 1)
            orders = random_orders(k, self.options.circles, self.options.steps, rng)
            # as many for each image, where images have concepts of their own
            orders = np.resize(orders, (2 * min(most, self.options.steps) * self.options.circles, k))
            ask = game.inserted if self.inserts else game.removed
            own.append(_area(ask(firsts(game.order, counts)), counts))
            sets = firsts(orders, counts)
            y = ask(sets.reshape(-1, sets.shape[-1]))
            random.append(_area(y.reshape(len(y), *sets.shape[:2], -1), counts))
        details["steps"] = float(np.mean(taken))
        return np.concatenate(own), np.concatenate(random)


class Insertion(Curve):
    """Concepts are put in one after another, the most important first; higher is better."""

    name, direction, inserts = "C-insertion", "higher", True


class Deletion(Curve):
    """Concepts are taken away one after another, the most important first; lower is better."""

    name, direction, inserts = "C-deletion", "lower", False


class MuFidelity(Removal):
    """Correlation, over sets of half of the concepts, of their summed importance with what the score loses.

    The correlation is taken in each image and averaged. An image whose score varies with no set, or whose importances
    are all equal, counts as 0; details say how many (`flat`).
    """

    name, direction, divides = "C-muFidelity", "higher", False  # a correlation has no unit

    def _figures(self, e: Experiment, details: dict[str, float]) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(SEED)
        own, random, used = [], [], []
        several = len(e.games) > 1
        for game, k in _sized(e.games):
            orders = shuffles(k, SHUFFLES, rng)
            orders = np.resize(orders, (SHUFFLES, k)) if several else orders  # as many for each image
            sets = random_sets(k, self.options.subsets, rng)
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
    """Areas of (..., points, outputs)."""
    return area(np.moveaxis(y, -1, -2), counts)


def _sized(games: Sequence[Game]) -> list[tuple[Game, int]]:
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
