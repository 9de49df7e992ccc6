"""The searches, as policies that choose the prompt of a step: a DQN, greed, evolution, chance, or each in turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from xcore.contract import UsageError, seeded
from xcore.inputs.words import lemma, words
from xcore_rlpo.options import Options

State: TypeAlias = NDArray[np.float32]
"""(d,) what a policy sees."""

LONGEST = 8
"""Words of the longest prompt that `Evolve` makes."""


@dataclass(frozen=True)
class Choice:
    """The action that a policy chose, and what it knew at that time."""

    action: int
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of a DQN: "epsilon", the share of random choices, and "q", the Q value of the action."""
    new: str = ""
    """A prompt that was not there before; `action` is then the index that it gets."""


class Policy:
    """Chooses actions. This base learns nothing; subclasses give `choose`."""

    def choose(self, state: State) -> Choice:
        """The action to take in a state."""
        raise NotImplementedError

    def scored(self, action: int, effect: float) -> None:
        """See the mean effect of the groups of a step, before its reward is paid."""

    def store(self, state: State, action: int, reward: float, next_state: State, over: bool) -> None:
        """Remember a transition; `over` = the episode ended with it."""

    def learn(self) -> None:
        """Learn from the remembered transitions. Called once after each step."""

    def q_values(self, state: State) -> list[float] | None:
        """The Q value of each action in a state; None for a policy that learns none."""
        return None


class RandomPolicy(Policy):
    """Chooses each of k actions with the same probability."""

    def __init__(self, k: int, rng: np.random.Generator) -> None:
        self._k, self._rng = k, rng

    def choose(self, state: State) -> Choice:
        return Choice(int(self._rng.integers(self._k)))


class RoundRobin(Policy):
    """Chooses k actions in turn."""

    def __init__(self, k: int) -> None:
        self._k, self._taken = k, 0

    def choose(self, state: State) -> Choice:
        self._taken += 1
        return Choice((self._taken - 1) % self._k)


class Greedy(Policy):
    """Chooses each of k actions once, and then the one with the largest mean reward so far.

    Of equal ones it chooses the one whose groups scored best when they were last drawn: where gains are paid, none is
    known before an action is chosen for the second time.
    """

    def __init__(self, k: int) -> None:
        self._rewards: list[list[float]] = [[] for _ in range(k)]
        self._effect = [-math.inf] * k

    def choose(self, state: State) -> Choice:
        untried = [a for a, paid in enumerate(self._rewards) if not paid]
        if untried:
            return Choice(untried[0])

        def worth(action: int) -> tuple[float, float]:
            return fmean(self._rewards[action]), self._effect[action]

        return Choice(max(range(len(self._rewards)), key=worth))

    def scored(self, action: int, effect: float) -> None:
        self._effect[action] = effect

    def store(self, state: State, action: int, reward: float, next_state: State, over: bool) -> None:
        self._rewards[action].append(reward)


class Evolve(Policy):
    """Chooses each prompt once, and then by turns makes a new one from the best and chooses one of the best again.

    A new prompt is one of the best with a word replaced, added or left out, or two of them joined. The best are the
    quarter of all prompts, and at least two, whose groups scored best when they were last drawn.

    Parameters
    ----------
    phrases
        The seed prompts.
    words
        What words are replaced by and added from.
    single
        Whether a prompt is one word, as for generators of lists of words: then words are only replaced.
    name
        Name of the class. No new prompt has all its words, since "polar" and "bear" joined would name it again.
    """

    def __init__(
        self, phrases: Sequence[str], words: Sequence[str], rng: np.random.Generator, single: bool, name: str = ""
    ) -> None:
        self._prompts, self._words, self._rng, self._single = list(phrases), tuple(words), rng, single
        self._name = _lemmas(name)
        self._effect: dict[int, float] = {}
        self._untried = list(range(len(phrases)))
        self._turn = 0

    def choose(self, state: State) -> Choice:
        if self._untried:
            return Choice(self._untried.pop(0))
        ranked = sorted(range(len(self._prompts)), key=lambda a: -self._effect.get(a, -math.inf))
        best = ranked[: max(2, len(ranked) // 4)]
        self._turn += 1
        made = self._made_from(best) if self._turn % 2 else ""
        if not made:
            return Choice(best[int(self._rng.integers(len(best)))])
        self._prompts.append(made)
        return Choice(len(self._prompts) - 1, new=made)

    def scored(self, action: int, effect: float) -> None:
        self._effect[action] = effect

    def _made_from(self, best: Sequence[int], tries: int = 20) -> str:
        """A prompt that is not there yet; "" if chance finds none."""
        for _ in range(tries):
            parent, other = (self._prompts[best[int(i)]] for i in self._rng.integers(len(best), size=2))
            made = self._changed(parent, other)
            if made and made not in self._prompts and not (self._name and self._name <= _lemmas(made)):
                return made
        return ""

    def _changed(self, parent: str, other: str) -> str:
        """The parent changed in one of four ways, or "" where that leaves nothing."""
        said = parent.split()
        place = int(self._rng.integers(len(said)))
        how = 0 if self._single else int(self._rng.integers(4))
        if how == 1:
            return f"{parent}, {other}" if other != parent and len(said) + len(other.split()) <= LONGEST else ""
        if how == 2:
            return " ".join(said[:place] + said[place + 1 :]).strip(", ")
        if not self._words or (how == 3 and len(said) >= LONGEST):
            return ""
        word = self._words[int(self._rng.integers(len(self._words)))]
        return " ".join([*said[:place], word, *said[place + (how == 0) :]])


def _lemmas(text: str) -> set[str]:
    return {lemma(word) for word in words(text.replace("_", " "))}


class Dqn(Policy):
    """Deep Q-learning with epsilon-greedy exploration, by stable-baselines3.

    The class uses the library's network, memory and training step. The loop over steps is `Search.run` instead of the
    library's `learn`, so that a step of RLPO can be read in one place.

    Parameters
    ----------
    k
        Number of actions.
    size
        d, the length of a state.
    steps
        T, over which epsilon falls.

    Raises
    ------
    UsageError
        If the DQN would not learn within the steps.

    References
    ----------
    Mnih et al., Human-level control through deep reinforcement learning, Nature 2015.
    """

    def __init__(self, k: int, size: int, options: Options, *, steps: int, seed: int) -> None:
        starts = options.learning_starts
        self._starts = min(k, steps // 4) if starts is None else starts
        self._options, self._steps, self._taken = options, steps, 0
        if self._starts >= steps:
            raise UsageError(
                f"option 'learning_starts' is {self._starts}, but the run has only {steps} steps: "
                "the policy would learn nothing",
                "lower rlpo.learning_starts, or raise rlpo.steps (and the budget's steps, if there is one)",
            )
        # The library draws from the global generators, also on import. It is imported here because the other policies
        # do without it and it takes seconds to load.
        with seeded(seed):
            from stable_baselines3 import DQN
            from stable_baselines3.common.logger import Logger

            self._model = DQN(
                "MlpPolicy",
                _Spaces(k, size, seed, balanced=options.exploration == "balanced"),
                learning_rate=options.learning_rate,
                buffer_size=options.buffer,
                gamma=options.gamma,
                exploration_fraction=options.exploration_fraction,
                exploration_initial_eps=1.0,
                exploration_final_eps=options.epsilon_end,
                seed=seed % 2**32,
                device="cpu",
            )
        self._model.set_logger(Logger(None, []))  # the library's own would leave a folder behind in every run
        self._model.policy.set_training_mode(False)
        self._model.exploration_rate = 1.0
        _start_at_zero(self._model)

    def choose(self, state: State) -> Choice:
        """A random action with probability epsilon, else the one with the highest Q value.

        The first `learning_starts` actions are random.
        """
        if warm := self._taken < self._starts:
            action = int(self._model.action_space.sample())
        else:
            action = int(self._model.predict(state[None], deterministic=False)[0][0])
        epsilon = 1.0 if warm else float(self._model.exploration_rate)
        return Choice(action, {"epsilon": epsilon, "q": self.q_values(state)[action]})

    def store(self, state: State, action: int, reward: float, next_state: State, over: bool) -> None:
        """Put a transition into the replay memory."""
        self._model.replay_buffer.add(
            state[None], next_state[None], np.array([action]), np.array([reward], np.float32), np.array([over]), [{}]
        )

    def learn(self) -> None:
        """Lower epsilon, refresh the target network and train the Q network, each where its time has come."""
        o, model = self._options, self._model
        self._taken += 1
        model.exploration_rate = model.exploration_schedule(1 - self._taken / self._steps)
        if self._taken % o.target_update == 0:
            model.q_net_target.load_state_dict(model.q_net.state_dict())
        if self._taken % o.train_freq == 0 and self._taken > self._starts:
            model.train(gradient_steps=o.gradient_steps, batch_size=o.batch)
            model.policy.set_training_mode(False)

    def q_values(self, state: State) -> list[float]:
        """(k,) the Q value of each action in a state, in the unit of the rewards."""
        with torch.no_grad():
            values: list[float] = self._model.q_net(torch.from_numpy(np.asarray(state, np.float32))[None])[0].tolist()
        return values


def _start_at_zero(model: Any) -> None:
    """Q = 0 before anything is learned: random values of another size than the rewards would take long to unlearn."""
    for net in (model.q_net, model.q_net_target):
        last = net.q_net[-1]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)


class _Spaces(gymnasium.Env):  # type: ignore[misc]
    """What the library asks of an environment when a DQN is built: which states and actions there are."""

    def __init__(self, k: int, size: int, seed: int, *, balanced: bool) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (size,), np.float32)
        self.action_space = (BalancedActions if balanced else gymnasium.spaces.Discrete)(k, seed=seed)


class BalancedActions(gymnasium.spaces.Discrete):  # type: ignore[misc]
    """Actions whose random samples go through all of them, in random order, before one comes again."""

    def __init__(self, n: int, seed: int | None = None) -> None:
        self._left: list[int] = []
        super().__init__(n, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> np.int64:
        if mask is not None or probability is not None:
            return np.int64(super().sample(mask, probability))
        if not self._left:
            self._left = self.np_random.permutation(int(self.n)).tolist()
        return np.int64(self._left.pop())

    def seed(self, seed: Any = None) -> Any:
        self._left = []
        return super().seed(seed)
