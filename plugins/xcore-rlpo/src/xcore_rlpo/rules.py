"""Who is preferred, whether the generator learns from it, and what the policy is paid. Plain functions of scores."""

from __future__ import annotations

from typing import Literal, NamedTuple

from xcore_rlpo.options import Options


class Pair(NamedTuple):
    """Scores of the two groups of a step."""

    ts: tuple[float, float]
    """Share of positive sensitivities, in [0, 1]."""
    effect: tuple[float, float]
    """Mean sensitivity."""


def preferred(pair: Pair, options: Options, coin: bool) -> tuple[Literal[0, 1] | None, str]:
    """Index of the preferred group (None = neither) and what decided.

    Parameters
    ----------
    coin
        A fair draw, used where ``tie="random"``.
    """
    by = {"ts-effect": ("ts", "effect"), "ts": ("ts",), "effect": ("effect",)}[options.preference]
    for name in by:
        first, second = getattr(pair, name)
        if first != second:
            return (0 if first > second else 1), name
    if options.tie == "skip":
        return None, "tie"
    return (1 if options.tie == "g2" else int(coin)), "tie"  # type: ignore[return-value]


CEILING = ("max at eta", "both above eta")
"""Answers of `gate` that mean: as good as it needs to be."""


def gate(pair: Pair, winner: int | None, best: float, options: Options) -> tuple[bool, str]:
    """Whether to update, and the rule that said so.

    Parameters
    ----------
    best
        The best TS of a preferred group of this action so far, the present step included.

    Notes
    -----
    ``always``: whenever one group is preferred. ``best_so_far`` (released code): where the preferred group is as good
    as the action's best and not both groups are above eta. ``low_gate`` (authors' rebuttal): not where both are below
    eta. ``max_below_eta``: until one group reaches eta.
    """
    low, high = min(pair.ts), max(pair.ts)
    if not options.update:
        return False, "off"
    if options.update_rule == "max_below_eta" and high >= options.eta:
        return False, "max at eta"
    if options.update_rule == "best_so_far" and low > options.eta:
        return False, "both above eta"
    if options.update_rule == "low_gate" and high < options.eta:
        return False, "both below eta"
    if winner is None:
        return False, "tie"
    if options.update_rule == "best_so_far" and pair.ts[winner] < best:
        return False, "below best"
    return True, options.update_rule


def alpha(pair: Pair, picks: int, steps: int, eta: float) -> float:
    """Weight of the published reward: min(1, 2 picks / steps), and 1 where both groups are above eta.

    Taparia et al., arXiv:2408.13438; constants as in the released code.
    """
    return 1.0 if min(pair.ts) > eta else min(1.0, 2 * picks / steps)


def reward(pair: Pair, picks: int, steps: int, options: Options) -> float:
    """The reward of a step: the mean effect of both groups, or the published 50 alpha (TS1 + TS2)."""
    if options.reward == "ts":
        return sum(pair.effect) / 2
    return 50 * alpha(pair, picks, steps, options.eta) * sum(pair.ts)
