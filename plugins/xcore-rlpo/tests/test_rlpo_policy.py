"""Environment and policies on bandits whose best arm is known."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from xcore_rlpo.env import Balanced, PromptEnv
from xcore_rlpo.loop import Outcome
from xcore_rlpo.options import Options
from xcore_rlpo.policy import play

from xcore.errors import UsageError
from xcore.samples import Samples

ARMS = 8
STATES = torch.randn(30, 16, generator=torch.Generator().manual_seed(1)) * 0.3 + 1


class Bandit:
    """Fixed rewards, in the order of a seed; remembers what was asked."""

    def __init__(self, seed: int, scale: float = 0.1, updated: bool = True) -> None:
        self.means = np.random.default_rng(seed).permutation(np.linspace(-0.3, 1, ARMS)) * scale
        self.asked: list[tuple[int, str, int]] = []
        self.told: list[dict[str, float]] = []
        self.updated = updated

    def take(self, action: int, prompt: str, picks: int) -> Outcome:
        self.asked.append((action, prompt, picks))
        return Outcome(float(self.means[action]), Samples("text", (prompt,), (str(action),)), self.updated)

    def env(self, seed: int = 0, length: int = 1, balanced: bool = True) -> PromptEnv:
        phrases = [f"p{i}" for i in range(ARMS)]

        def encode(samples: Samples) -> torch.Tensor:
            return STATES[[int(i) % len(STATES) for i in samples.ids]]

        return PromptEnv(phrases, self.take, encode, STATES, n=5, length=length, balanced=balanced, seed=seed)

    def go(self, options: Options, steps: int, seed: int = 0, **kw: Any) -> list[float] | None:
        def told(knew: dict[str, float]) -> bool:
            self.told.append(knew)
            return True

        return play(self.env(seed, **kw), options, steps, seed, told)


def test_environment_keeps_to_gymnasium() -> None:
    check_env(Bandit(0).env(length=3), skip_render_check=True)


def test_prompts_of_an_episode_are_joined_without_repeats() -> None:
    bandit = Bandit(0)
    env = bandit.env(length=4)
    env.reset()
    ends = [env.step(a)[2] for a in (2, 5, 2, 0)]
    assert ends == [False, False, False, True]
    assert bandit.asked == [(2, "p2", 1), (5, "p2, p5", 1), (2, "p2, p5", 2), (0, "p2, p5, p0", 1)]
    env.reset()
    env.step(1)
    assert bandit.asked[-1] == (1, "p1", 1)
    still = Bandit(0, updated=False).env(length=4)
    still.reset()
    assert still.step(0)[2], "an episode ends where nothing was learned"


def test_balanced_samples_go_through_all_actions() -> None:
    space = Balanced(5, seed=3)
    drawn = [int(space.sample()) for _ in range(50)]
    assert all(sorted(drawn[i : i + 5]) == list(range(5)) for i in range(0, 50, 5))
    assert len({tuple(drawn[i : i + 5]) for i in range(0, 50, 5)}) > 3
    space.seed(3)
    assert [int(space.sample()) for _ in range(50)] == drawn


def test_round_robin_and_random() -> None:
    bandit = Bandit(0)
    assert bandit.go(Options(policy="round-robin"), 2 * ARMS) is None
    assert [a for a, *_ in bandit.asked] == list(range(ARMS)) * 2
    bandit = Bandit(0)
    bandit.go(Options(policy="random"), 400, seed=5)
    picks = Counter(a for a, *_ in bandit.asked)
    assert len(picks) == ARMS
    assert max(picks.values()) < 90


def test_dqn_finds_the_best_arm_in_a_short_run() -> None:
    found = []
    for seed in range(20):
        bandit = Bandit(seed, scale=(0.02, 0.2, 2.0)[seed % 3])
        q = bandit.go(Options(steps=32, gradient_steps=4), 32, seed)
        assert q is not None
        found.append(int(np.argmax(q)) == int(np.argmax(bandit.means)))
    assert np.mean(found) >= 0.95


def test_dqn_tells_epsilon_and_q_and_exploits_at_the_end() -> None:
    bandit = Bandit(1)
    bandit.go(Options(steps=40, gradient_steps=4), 40)
    epsilon = [t["epsilon"] for t in bandit.told]
    assert epsilon[: ARMS + 1] == pytest.approx([1.0] * ARMS + [epsilon[ARMS]])
    assert epsilon == sorted(epsilon, reverse=True)
    assert epsilon[-1] == pytest.approx(0.05)
    assert sorted(a for a, *_ in bandit.asked[:ARMS]) == list(range(ARMS))
    assert bandit.told[0]["q"] == 0, "nothing is known before the first step"
    best = int(np.argmax(bandit.means))
    assert sum(a == best for a, *_ in bandit.asked[-10:]) >= 8


def test_dqn_leaves_the_global_generators_alone_and_repeats() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    runs = []
    for _ in range(2):
        bandit = Bandit(2)
        runs.append((bandit.go(Options(steps=16, gradient_steps=2), 16, seed=7), bandit.asked, bandit.told))
    assert runs[0] == runs[1]
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_budget_that_leaves_nothing_to_learn_is_an_error() -> None:
    with pytest.raises(UsageError, match="learning_starts"):
        Bandit(0).go(Options(steps=100, learning_starts=20), 20)
    bandit = Bandit(0)
    assert bandit.go(Options(steps=100), 2) is not None
    assert len(bandit.asked) == 2


def test_play_ends_when_told_to() -> None:
    for policy in ("dqn", "random"):
        bandit = Bandit(0)
        play(bandit.env(), Options(policy=policy, gradient_steps=1), 30, 0, lambda knew, b=bandit: len(b.asked) < 5)
        assert len(bandit.asked) == 5
