"""RLPO's search for concepts: `Search.run` is the algorithm, one step after another, by the rules of `rules`.

After Algorithm 1 of Taparia et al., arXiv:2408.13438, with the deviations that ``docs/methods/rlpo.md`` lists. The
symbols of the paper are called here:

=========== ============================================================================================
f           the classifier under explanation; `scorer` asks it for gradients and activations
A, a_t      ``phrases``, the seed prompts, and ``action``, the index of the one that was chosen in step t
s_t         ``state``, what the policy sees: the mean embedding of n samples (`States`)
g, phi_t    ``generator``, and ``adapters``, the LoRAs that tuning has given it so far: one for each prompt, or one
G_1, G_2    ``groups``, two sets of n samples each that the generator draws in a step
TS_1, TS_2  ``scores.ts``, the TCAV scores of the groups, in [0, 1]
eta         option `eta`, the TCAV score at which a seed prompt counts as explained
r_t, alpha  ``paid``, the reward of step t, and its published weight (`alpha`)
T           ``steps``, the number of steps
=========== ============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log
from statistics import fmean, pstdev
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize
from xcore_tcav.scorer import Scorer

from xcore.contract import Adapter, Generator, Samples, seeded
from xcore_rlpo.keeping import Reading, Trial, Verdict, judge
from xcore_rlpo.options import Options
from xcore_rlpo.policy import Policy, State
from xcore_rlpo.rules import EXPLAINED, GroupScores, alpha, preferred, reward, update_decision

Encoder = Callable[[Samples], Tensor]
"""Samples -> (n, d) embeddings."""

NO_STATE: State = np.zeros(0, np.float32)
"""The state that a policy gets that looks at none."""


class States:
    """The states of the policy: the mean of the unit embeddings of n samples, (d,), each entry in [-1, 1].

    Parameters
    ----------
    encode
        Samples -> (n, d) embeddings.
    samples
        The m class samples, of which a first state shows some.
    n
        Number of class samples in a first state; all m if there are fewer.
    seed
        Of the draw of these samples.
    """

    def __init__(self, encode: Encoder, samples: Samples, n: int, seed: int) -> None:
        self._encode = encode
        self._class = normalize(encode(samples).float(), dim=1)
        self._n = min(n, len(self._class))
        self._rng = np.random.default_rng(seed % 2**32)

    def first(self) -> State:
        """The state at the start of an episode: n class samples, drawn at random."""
        rows = self._rng.choice(len(self._class), self._n, replace=False)
        return _within_bounds(self._class[rows].mean(0))

    def after(self, state: State, group: Samples) -> State:
        """The state after `state` if `group` was preferred; no other one if a generator of text gave no words."""
        return _within_bounds(normalize(self._encode(group).float(), dim=1).mean(0)) if len(group) else state

    def mean(self) -> State:
        """The mean over all class samples, which first states are near to."""
        return _within_bounds(self._class.mean(0))


def _within_bounds(state: Tensor) -> State:
    """Rounding may take an entry of a unit vector beyond 1."""
    bounded: State = state.clamp(-1, 1).cpu().numpy()
    return bounded


class Search:
    """One run of the search: the tuned generator, what each action has brought so far, and the trace.

    Parameters
    ----------
    generator
        Draws the samples and is tuned.
    scorer
        Gives the TCAV scores of groups for the classifier and the class under explanation.
    phrases
        The seed prompts A, one for each action.
    steps
        T, the number of steps that the run may take.
    seed
        Of everything that is drawn.
    render
        How the random sets are rendered that groups are scored against.
    read
        How much drawings show their prompt, which keeps updates from spoiling them; None = nothing reads them.

    Attributes
    ----------
    phrases
        The seed prompts, and those that a policy has added since.
    adapters
        What tuning has made of the generator so far: an adapter for each tuned prompt, or one under the name "" for
        all of them (option `adapters`).
    trace
        One JSON-able entry for each step.
    counts, updates, kept
        How often each action was chosen, how often the generator was tuned on its samples, and how many of these
        updates were kept.
    drawn
        Number of samples drawn.
    snapshots
        Number of steps taken -> the adapters at that time, without the state of their optimisers, and without updates
        that were not judged yet.
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
        read: Reading | None = None,
    ) -> None:
        self.generator, self.scorer, self.phrases = generator, scorer, list(phrases)
        self.options, self.steps, self.seed, self.render, self._read = options, steps, seed, render, read
        self.adapters: dict[str, Adapter] = {}
        self.trace: list[dict[str, Any]] = []
        self.counts = [0] * len(phrases)
        self.updates = [0] * len(phrases)
        self.kept = [0] * len(phrases)
        self.drawn = 0
        self.snapshots: dict[int, Mapping[str, Adapter]] = {0: {}}
        self._best = [-1.0] * len(phrases)
        self._best_effect: float | None = None
        self._judges = options.keep == "gain" or options.reward == "gain"
        self._trials: dict[str, Trial] = {}  # prompt -> its last update, if that was not judged yet
        self._original: dict[str, list[float]] = {}  # prompt -> readings of what the original generator drew for it
        self._steps_since_update = 0
        self._explained: set[int] = set()

    def adapter_of(self, prompt: str, at: int | None = None) -> Adapter | None:
        """The adapter that draws a prompt now, or after the snapshot of step `at`; None = the original generator."""
        known = self.adapters if at is None else self.snapshots[at]
        return known.get(self._name(prompt))

    def settled_adapter_of(self, prompt: str) -> Adapter | None:
        """The adapter that draws a prompt, without an update that was not judged yet."""
        trial = self._trials.get(prompt)
        return trial.before if trial and self.options.keep == "gain" else self.adapter_of(prompt)

    def _name(self, prompt: str) -> str:
        """The name of the adapter that draws a prompt."""
        return "" if self.options.adapters == "one" else prompt

    def run(
        self,
        policy: Policy,
        states: States | None = None,
        on_step: Callable[[Mapping[str, Any]], None] = lambda row: None,
    ) -> None:
        """Take T steps, or fewer where no action has anything left to gain (`finished`).

        Parameters
        ----------
        policy
            Chooses the actions, and learns from the rewards.
        states
            What the policy sees; None for a policy that looks at no state.
        on_step
            Called with the trace's entry after each step.
        """
        o = self.options
        with seeded(self.seed):  # the library of the DQN draws from the global generators
            state, episode = states.first() if states else NO_STATE, list[int]()
            for t in range(self.steps):
                # 1. Choose the action a_t, a seed prompt. Prompts of an episode are joined: "cat", then "cat, water".
                choice = policy.choose(state)
                action = choice.action
                said = choice.new or self.phrases[action]
                prompt = ", ".join(dict.fromkeys([*(self.phrases[a] for a in episode), said]))
                if not self._affords(2 * o.n * (2 if prompt in self._trials else 1) - self._cost_of_trial(prompt)):
                    break
                if choice.new:  # the policy has made a prompt of its own
                    self._add(choice.new)
                episode.append(action)
                self.counts[action] += 1
                row = dict[str, Any](step=t + 1, action=action, phrase=self.phrases[action], prompt=prompt)

                # 2. Draw two groups G_1 and G_2 of n samples each.
                seeds = noise(2 * o.n, self.seed, STEP, t)
                groups = self._draw(prompt, seeds, t, self.adapter_of(prompt))

                # 3. Score both with TCAV. If the prompt was tuned since it was last drawn, judge this update now.
                scores, verdict = self._score(groups), None
                if trial := self._trials.pop(prompt, None):
                    groups, scores, verdict = self._judged(trial, prompt, seeds, t, groups, scores)
                row |= scores.as_row() if scores else {"ts": [], "effect": []}
                if scores:
                    policy.scored(action, scores.mean_effect)
                    known = scores.mean_effect if self._best_effect is None else self._best_effect
                    self._best_effect = max(known, scores.mean_effect)

                # 4. Prefer the group with the better score.
                winner, decided_by = preferred(scores, o, coin=bool(stream(self.seed, TIE, t).integers(2)))
                if scores and winner is not None:
                    self._best[action] = max(self._best[action], scores.ts[winner])
                row |= {"preferred": None if winner is None else winner + 1}
                row |= {"decided_by": decided_by} if scores else {}

                # 5. Tune the generator by DPO towards the preferred group, if the update rule says so: phi_t+1.
                update, rule = update_decision(scores, winner, self._best[action], o)
                if update and o.updates is not None and sum(self.updates) >= o.updates:
                    update, rule = False, "updates spent"
                if update and o.keep == "gain" and not self._affords(4 * o.n):
                    update, rule = False, "images spent"
                figures: Mapping[str, float] = {}
                if update and winner is not None:
                    if self._judges:
                        self._trials[prompt] = Trial(t, action, self.adapter_of(prompt))
                    figures = self._tune(prompt, groups[winner], groups[1 - winner], t)
                self._count_update(action, update, rule)
                row |= {"updated": update, "rule": rule}

                # 6. Pay the reward r_t.
                times = self.counts[action] if o.alpha_scope == "run" else episode.count(action)
                paid = reward(scores, times, self.steps, o, verdict)
                if scores and o.reward == "parity":
                    row["alpha"] = alpha(scores, times, self.steps, o.eta)
                own = self.adapter_of(prompt)
                row |= {"reward": paid, "adapter": own.digest if own else None}
                row |= {f"update_{name}": float(value) for name, value in figures.items()}
                row |= {"images": self.drawn, "best_effect": self._best_effect}

                self.trace.append({**row, **choice.figures})
                if scores and (t + 1) % o.trajectory_every == 0:  # a step without words left the generator as it was
                    self.keep_snapshot()
                on_step(self.trace[-1])
                if self.finished:  # no action follows, so there is nothing to learn for
                    break

                # 7. Store the transition (s_t, a_t, r_t, s_t+1), where s_t+1 shows the preferred group.
                over = len(episode) >= o.length or not update
                next_state = states.after(state, groups[winner or 0]) if states else NO_STATE
                policy.store(state, action, paid, next_state, over)

                # 8. Let the policy learn from the stored transitions.
                policy.learn()

                state = next_state
                if over:
                    state, episode = states.first() if states else NO_STATE, []
            self._judge_the_rest()

    @property
    def finished(self) -> bool:
        """Whether all actions were tried, and none has anything left to gain.

        Either every action has reached eta since the last update, or `patience` steps went by without an update.
        """
        if not self.options.patience or not all(self.counts):
            return False
        return len(self._explained) == len(self.counts) or self._steps_since_update >= self.options.patience

    def keep_snapshot(self) -> None:
        """Keep the present state of the generator for the trajectory."""
        known: dict[str, Adapter | None] = {**self.adapters}
        if self.options.keep == "gain":
            known |= {prompt: trial.before for prompt, trial in self._trials.items()}
        self.snapshots[len(self.trace)] = {name: Adapter(a.state, {}, a.digest) for name, a in known.items() if a}

    def _add(self, prompt: str) -> None:
        """Take a new prompt among the actions."""
        self.phrases.append(prompt)
        self.counts.append(0)
        self.updates.append(0)
        self.kept.append(0)
        self._best.append(-1.0)

    def _draw(self, prompt: str, seeds: list[int], t: int, adapter: Adapter | None) -> tuple[Samples, Samples]:
        """Two groups: 2n samples are drawn together and halved at random, since no score ranks single samples.

        A generator of text may have no words for a seed. Such samples are dropped, and as many of the other group, so
        that preferred and rejected samples still form pairs.
        """
        drawn = self.generator.generate([prompt] * len(seeds), seeds, adapter)
        self.drawn += len(seeds)
        if self._read and adapter is None:
            self._original.setdefault(prompt, []).extend(self._read(prompt, drawn))
        first, second = halves(self.seed, t, self.options.n)
        one, two = drawn.take(first).filled(), drawn.take(second).filled()
        m = min(len(one), len(two))
        return one.take(slice(m)), two.take(slice(m))

    def _score(self, groups: tuple[Samples, Samples]) -> GroupScores | None:
        """The TCAV scores of both groups; None where a generator of text gave too few words to score."""
        if len(groups[0]) < 2:
            return None
        one, two = self.scorer.score_many(groups, self.render)
        details = {}
        if len(one.ts_each) > 1:
            details["ts_std"] = [one.ts_std, two.ts_std]
        if self.options.folds:
            details["cav_accuracy"] = [one.accuracy, two.accuracy]
        return GroupScores((one.ts, two.ts), (one.effect, two.effect), details)

    def _tune(self, prompt: str, better: Samples, worse: Samples, t: int) -> Mapping[str, float]:
        """One preference update (DPO) of the generator that draws this prompt, and its figures.

        The i-th sample of one group is paired with the i-th of the other; the samples were shuffled, so the pairs are
        random ones.
        """
        seed = noise(1, self.seed, ADAPT, t)[0]
        adapter, figures = self.generator.adapt(
            self.adapter_of(prompt), better, worse, seed=seed, options=dict(self.options.adapt)
        )
        self.adapters["" if self.options.adapters == "one" else prompt] = adapter
        return figures

    def _judged(
        self,
        trial: Trial,
        prompt: str,
        seeds: list[int],
        t: int,
        groups: tuple[Samples, Samples],
        scores: GroupScores | None,
    ) -> tuple[tuple[Samples, Samples], GroupScores | None, Verdict]:
        """Keep the last update of a prompt or take it back: the groups and scores of what is left, and the verdict.

        The adapter of before draws the same noise. So neither of the two effects that are compared is of the groups
        that decided the update, of which the better was chosen.
        """
        old = self._draw(prompt, seeds, t, trial.before)
        known = self._score(old)
        readings = [x for group in groups for x in self._read(prompt, group)] if self._read else []
        effects = known.mean_effect if known else None, scores.mean_effect if scores else None
        verdict = judge(effects, readings, self._original.get(prompt, []), self.options)
        self.trace[trial.step] |= verdict.as_row()
        if verdict.kept:
            self.kept[trial.action] += 1
            return groups, scores, verdict
        self.adapters.pop(self._name(prompt))
        if trial.before:
            self.adapters[self._name(prompt)] = trial.before
        return old, known, verdict

    def _judge_the_rest(self) -> None:
        """Judge the updates whose prompts were not drawn again, each by one more pair of groups."""
        for prompt, trial in self._trials.items() if self.options.keep == "gain" else ():
            seeds = noise(2 * self.options.n, self.seed, JUDGE, trial.step)
            groups = self._draw(prompt, seeds, trial.step, self.adapter_of(prompt))
            self._judged(trial, prompt, seeds, trial.step, groups, self._score(groups))
        self._trials.clear()

    def _affords(self, images: int) -> bool:
        """Whether so many samples may still be drawn beside those that judge the updates made so far."""
        most = self.options.images
        return most is None or self.drawn + images + sum(map(self._cost_of_trial, self._trials)) <= most

    def _cost_of_trial(self, prompt: str) -> int:
        """Samples that are kept back to judge the last update of a prompt: two groups by each of two adapters."""
        return 4 * self.options.n if prompt in self._trials and self.options.keep == "gain" else 0

    def _count_update(self, action: int, update: bool, rule: str) -> None:
        self.updates[action] += update
        self._steps_since_update = 0 if update else self._steps_since_update + 1
        if update and self.options.adapters == "one":  # the tuned generator may draw any prompt in another way
            self._explained.clear()
        elif rule in EXPLAINED:
            self._explained.add(action)
        else:
            self._explained.discard(action)


# Every purpose draws from a random stream of its own, so that nothing is judged by the samples that it was chosen by.
SPLIT, STEP, TIE, ADAPT, RANK, SHOW, FOLLOW, PICK, ASK, MUTATE, JUDGE = range(11)


def stream(seed: int, purpose: int, *place: int) -> np.random.Generator:
    """The random generator for a purpose (one of the constants above) at a place of a run, such as a step."""
    return np.random.default_rng([seed, 1 + purpose, *place])


def noise(n: int, seed: int, purpose: int, *place: int) -> list[int]:
    """n seeds for a generator's noise, in [0, 2^62)."""
    drawn: list[int] = stream(seed, purpose, *place).integers(2**62, size=n).tolist()
    return drawn


def halves(seed: int, t: int, n: int) -> tuple[list[int], list[int]]:
    """Positions 0 .. 2n - 1, split at random into two groups of n."""
    order: list[int] = stream(seed, SPLIT, t).permutation(2 * n).tolist()
    return order[:n], order[n:]


def entropy(counts: Sequence[int]) -> float:
    """Entropy of the choices in nats, in [0, ln k]; ln k for k actions that were chosen equally often."""
    total = sum(counts)
    return sum(-c / total * log(c / total) for c in counts if c) if total else 0.0


def anc(counts: Sequence[int]) -> float:
    """Average normalised count: mean over maximum, in (0, 1]; 1 for equal counts, 0 if nothing was chosen."""
    return fmean(counts) / max(counts) if any(counts) else 0.0


def icv(counts: Sequence[int]) -> float | None:
    """Inverse coefficient of variation: mean over standard deviation (ddof 0); None for equal counts."""
    spread = pstdev(counts)
    return fmean(counts) / spread if spread else None
