"""The rules of a step of the search: which group is preferred, when the generator is tuned, and what is paid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from xcore_rlpo.keeping import Verdict
from xcore_rlpo.options import Options


class GroupScores(NamedTuple):
    """The TCAV scores of the two groups of a step."""

    ts: tuple[float, float]
    """TS_1 and TS_2: share of positive sensitivities, in [0, 1]."""
    effect: tuple[float, float]
    """Mean sensitivities, in [-1, 1]."""
    details: Mapping[str, list[float]] = {}
    """Spread over random sets and accuracy of the CAVs of both groups, where they are defined."""

    @property
    def mean_effect(self) -> float:
        """Mean effect of both groups, in [-1, 1]."""
        return sum(self.effect) / 2

    def as_row(self) -> dict[str, Any]:
        """What the trace keeps of them."""
        return {"ts": list(self.ts), "effect": list(self.effect), **self.details}


def preferred(scores: GroupScores | None, options: Options, coin: bool) -> tuple[Literal[0, 1] | None, str]:
    """Index of the preferred group (None = neither) and what decided: "ts", "effect" or "tie".

    Parameters
    ----------
    scores
        None where nothing could be scored; then neither group is preferred.
    coin
        A fair draw, used where ``tie="random"``.
    """
    if scores is None:
        return None, NO_WORDS
    by = {"ts-effect": ("ts", "effect"), "ts": ("ts",), "effect": ("effect",)}[options.preference]
    for name in by:
        first, second = getattr(scores, name)
        if first != second:
            return (0 if first > second else 1), name
    if options.tie == "skip":
        return None, "tie"
    return (1 if options.tie == "g2" else int(coin)), "tie"  # type: ignore[return-value]


EXPLAINED = ("max at eta", "both above eta")
"""The rules of `update_decision` by which an action needs no update any more."""
NO_WORDS = "no words"
"""The rule of a step in which a generator of text gave too few words to score."""


def update_decision(scores: GroupScores | None, winner: int | None, best: float, options: Options) -> tuple[bool, str]:
    """Whether to tune the generator, and the rule that decided.

    Parameters
    ----------
    scores
        None where nothing could be scored.
    winner
        Index of the preferred group, None = neither.
    best
        The best TS of a preferred group of this action so far, the present step included.

    Notes
    -----
    ``always``: whenever one group is preferred. ``best_so_far`` (released code): where the preferred group is as good
    as the action's best and not both groups are above eta. ``low_gate`` (the authors' answer to reviewers): not where
    both are below eta. ``max_below_eta``: until one group reaches eta.
    """
    if scores is None:
        return False, NO_WORDS
    low, high = min(scores.ts), max(scores.ts)
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
    if options.update_rule == "best_so_far" and scores.ts[winner] < best:
        return False, "below best"
    return True, options.update_rule


def alpha(scores: GroupScores, times: int, steps: int, eta: float) -> float:
    """Weight of the published reward, in [0, 1]: min(1, 2 times / T), and 1 where both groups are above eta.

    Parameters
    ----------
    times
        How often the action was chosen, this step included.

    References
    ----------
    Taparia et al., arXiv:2408.13438; constants as in the released code.
    """
    return 1.0 if min(scores.ts) > eta else min(1.0, 2 * times / steps)


def reward(
    scores: GroupScores | None, times: int, steps: int, options: Options, verdict: Verdict | None = None
) -> float:
    """The reward of a step; 0 without scores.

    "gain" pays what the last update of the prompt added (`Verdict.paid`). "ts" pays the mean effect of both
    groups, in [-1, 1], and "parity" the published 50 alpha (TS_1 + TS_2).

    Parameters
    ----------
    verdict
        On the last update of the prompt, if it was tuned since it was last drawn; None = nothing was added.
    """
    if options.reward == "gain":
        return verdict.paid if verdict else 0.0
    if scores is None:
        return 0.0
    if options.reward == "ts":
        return sum(scores.effect) / 2
    return 50 * alpha(scores, times, steps, options.eta) * sum(scores.ts)
