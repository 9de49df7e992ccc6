"""The loop: draw two groups, score them, prefer one, let the generator learn from it, pay the policy.

Taparia et al., arXiv:2408.13438, with the deviations that `xcore_rlpo.options` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xcore_tcav.scorer import Scorer, SetScore

from xcore.protocols import Generator
from xcore.samples import Samples
from xcore.types import Adapter
from xcore_rlpo import draws
from xcore_rlpo.options import Options
from xcore_rlpo.rules import CEILING, Pair, alpha, gate, preferred, reward

NO_WORDS = "no words"
"""What a step's rule is called where a generator of text had nothing to say."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one pick."""

    reward: float
    preferred: Samples
    updated: bool


class Loop:
    """The state of one run: the adapter, what each action has brought, and the trace. It knows nothing of policies.

    Parameters
    ----------
    generator, scorer
        Who draws and who scores.
    phrases
        The seed prompts, one an action.
    steps
        T, the number of steps that the run may take.
    render
        How the random sets are to be rendered.
    """

    def __init__(
        self,
        generator: Generator,
        scorer: Scorer,
        phrases: Sequence[str],
        options: Options,
        *,
        steps: int,
        seed: int,
        render: str,
    ) -> None:
        self.generator, self.scorer, self.phrases = generator, scorer, tuple(phrases)
        self.options, self.steps, self.seed, self.render = options, steps, seed, render
        self.adapter: Adapter | None = None
        self.trace: list[dict[str, Any]] = []
        self.counts = [0] * len(phrases)
        self.updates = [0] * len(phrases)
        self.snapshots: dict[int, Adapter | None] = {0: None}
        """State of the generator after so many steps, without that of its optimiser."""
        self._best = [-1.0] * len(phrases)
        self._idle = 0
        self._at_ceiling: set[int] = set()

    def take(self, action: int, prompt: str, picks: int) -> Outcome:
        """One step.

        Parameters
        ----------
        action
            Index of the seed prompt that was picked.
        prompt
            What to draw: the prompts of the episode so far.
        picks
            How often the action was picked in this episode.
        """
        o, t = self.options, len(self.trace)
        self.counts[action] += 1
        groups = self._draw(prompt, t)
        if len(groups[0]) < 2:
            return self._nothing(action, prompt, groups[0])
        scores = self.scorer.score_many(groups, self.render)
        pair = Pair((scores[0].ts, scores[1].ts), (scores[0].effect, scores[1].effect))
        winner, decided_by = preferred(pair, o, coin=bool(draws.stream(self.seed, draws.TIE, t).integers(2)))
        if winner is not None:
            self._best[action] = max(self._best[action], pair.ts[winner])
        update, rule = gate(pair, winner, self._best[action], o)
        figures: dict[str, float] = {}
        # pairs are matched by position, and the positions were shuffled
        if update and winner is not None:
            figures = self._learn(groups[winner], groups[1 - winner], t)
            self.updates[action] += 1
        self._note(action, update, rule)
        counted = self.counts[action] if o.alpha_scope == "run" else picks
        paid = reward(pair, counted, self.steps, o)
        self.trace.append(
            {
                "step": t + 1,
                "action": action,
                "phrase": self.phrases[action],
                "prompt": prompt,
                "ts": list(pair.ts),
                "effect": list(pair.effect),
                **_spread(scores, o.folds),
                "preferred": None if winner is None else winner + 1,
                "decided_by": decided_by,
                "updated": update,
                "rule": rule,
                **({"alpha": alpha(pair, counted, self.steps, o.eta)} if o.reward == "parity" else {}),
                "reward": paid,
                "adapter": self.adapter.digest if self.adapter else None,
                **{f"update_{name}": float(value) for name, value in figures.items()},
            }
        )
        if (t + 1) % o.trajectory_every == 0:
            self.keep()
        return Outcome(paid, groups[winner or 0], update)

    def _nothing(self, action: int, prompt: str, group: Samples) -> Outcome:
        """A step in which the generator had no words: nothing is paid and nothing learned."""
        self._note(action, False, NO_WORDS)
        self.trace.append(
            {
                "step": len(self.trace) + 1,
                "action": action,
                "phrase": self.phrases[action],
                "prompt": prompt,
                "ts": [],
                "effect": [],
                "preferred": None,
                "updated": False,
                "rule": NO_WORDS,
                "reward": 0.0,
                "adapter": self.adapter.digest if self.adapter else None,
            }
        )
        return Outcome(0.0, group, False)

    def keep(self) -> None:
        """Keep the generator's present state for the trajectory."""
        a = self.adapter
        self.snapshots[len(self.trace)] = Adapter(a.state, {}, a.digest) if a else None

    @property
    def settled(self) -> bool:
        """Whether more steps would change nothing: all actions are tried, and none has anything left to learn.

        Either every action was at its ceiling since the last update, or `patience` steps passed without one.
        """
        if not self.options.patience or not all(self.counts):
            return False
        return len(self._at_ceiling) == len(self.counts) or self._idle >= self.options.patience

    def _draw(self, prompt: str, t: int) -> tuple[Samples, Samples]:
        """Two groups of n samples: 2n drawn together, halved at random; of texts those that say anything, in pairs."""
        n = self.options.n
        seeds = draws.seeds(2 * n, self.seed, draws.STEP, t)
        drawn = self.generator.generate([prompt] * (2 * n), seeds, self.adapter)
        first, second = halves(self.seed, t, n)
        one, two = drawn.take(first).filled(), drawn.take(second).filled()
        m = min(len(one), len(two))
        return one.take(slice(m)), two.take(slice(m))

    def _learn(self, better: Samples, worse: Samples, t: int) -> dict[str, float]:
        seed = draws.seeds(1, self.seed, draws.ADAPT, t)[0]
        self.adapter, figures = self.generator.adapt(
            self.adapter, better, worse, seed=seed, options=dict(self.options.adapt)
        )
        return dict(figures)

    def _note(self, action: int, update: bool, rule: str) -> None:
        self._idle = 0 if update else self._idle + 1
        if update:
            self._at_ceiling.clear()
        elif rule in CEILING:
            self._at_ceiling.add(action)
        else:
            self._at_ceiling.discard(action)


def halves(seed: int, t: int, n: int) -> tuple[list[int], list[int]]:
    """Positions 0 .. 2n - 1, split at random into two groups of n."""
    order: list[int] = draws.stream(seed, draws.SPLIT, t).permutation(2 * n).tolist()
    return order[:n], order[n:]


def _spread(scores: Sequence[SetScore], folds: int) -> dict[str, list[float]]:
    """Spread over random sets and accuracy of the CAVs, where they are defined."""
    several = len(scores[0].ts_each) > 1
    spread = {"ts_std": [s.ts_std for s in scores]} if several else {}
    return {**spread, **({"cav_accuracy": [s.accuracy for s in scores]} if folds else {})}
