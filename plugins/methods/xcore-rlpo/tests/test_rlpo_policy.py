"""The search by each policy, on bandits whose best arm is known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from xcore_rlpo.algorithm import Search, States, stream
from xcore_rlpo.options import Options
from xcore_rlpo.policy import BalancedActions, Choice, Dqn, Evolve, Greedy, Policy, RandomPolicy, RoundRobin, State

from xcore.contract import Adapter, Modality, Samples, UsageError, seeded

ARMS = 8
PHRASES = [f"p{i}" for i in range(ARMS)]
EMBEDDINGS = torch.randn(30, 16, generator=torch.Generator().manual_seed(1)) * 0.3 + 1
CLASS = Samples("text", tuple(f"p{i}" for i in range(30)), tuple(f"class/{i}" for i in range(30)))


def encode(samples: Samples) -> torch.Tensor:
    return EMBEDDINGS[[int(text.rpartition("p")[2]) for text in samples.texts]]


def states(seed: int = 0) -> States:
    return States(encode, CLASS, 5, seed)


class Bandit:
    """Arms with fixed rewards, in the order of a seed: it draws its prompts, and scores them by the last one's arm."""

    modality: Modality = "text"
    fingerprint = "bandit"
    can = frozenset({"adapt"})

    def __init__(self, seed: int, scale: float = 0.1) -> None:
        self.means = np.random.default_rng(seed).permutation(np.linspace(-0.3, 1, ARMS)) * scale

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        return Samples("text", tuple(prompts), tuple(str(s) for s in seeds))

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        return Adapter({}, {}, "tuned"), {}

    def score_many(self, sets: Sequence[Samples], render: str) -> list[Any]:
        arms = [PHRASES.index(s.texts[0].rpartition(", ")[2]) for s in sets]
        return [SimpleNamespace(ts=0.0, effect=float(self.means[arm]), ts_each=[0.0]) for arm in arms]

    def search(self, total: int, seed: int = 0, **options: Any) -> Search:
        classic = {"reward": "ts", "adapters": "one"}
        o = Options(**{"update_rule": "always", "tie": "g2", "patience": 0, "n": 2, **classic, **options})
        return Search(self, self, PHRASES, o, steps=total, seed=seed, render="as-is")  # type: ignore[arg-type]

    def go(self, total: int, seed: int = 0, **options: Any) -> tuple[Search, list[float] | None]:
        """Run the search that the options name; the Q values that it learned."""
        search = self.search(total, seed, **options)
        if search.options.search != "dqn":
            others: dict[str, Policy] = {
                "random": RandomPolicy(ARMS, stream(seed, 0)),
                "brute": RoundRobin(ARMS),
                "greedy": Greedy(ARMS),
                "evolve": Evolve(PHRASES, ["p9"], stream(seed, 0), single=True),
            }
            other = others[search.options.search]
            search.run(other)
            return search, other.q_values(np.zeros(0, np.float32))
        seen = states(seed)
        dqn = Dqn(ARMS, len(seen.mean()), search.options, steps=total, seed=seed)
        search.run(dqn, seen)
        return search, dqn.q_values(seen.mean())


def actions(search: Search) -> list[int]:
    return [row["action"] for row in search.trace]


class Scripted(Policy):
    """Takes given actions and keeps the transitions."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = iter(script)
        self.stored: list[tuple[State, int, float, State, bool]] = []
        self.lessons = 0

    def choose(self, state: State) -> Choice:
        return Choice(next(self.script))

    def store(self, state: State, action: int, reward: float, next_state: State, over: bool) -> None:
        self.stored.append((state, action, reward, next_state, over))

    def learn(self) -> None:
        self.lessons += 1


def test_states_are_means_of_unit_embeddings() -> None:
    seen = states(3)
    unit = EMBEDDINGS / EMBEDDINGS.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(seen.mean(), unit.mean(0), atol=1e-6)
    first = [seen.first() for _ in range(4)]
    assert all(s.shape == (16,) and s.dtype == np.float32 and (abs(s) <= 1).all() for s in first)
    assert len({s.tobytes() for s in first}) == 4, "each episode starts from other class samples"
    again, other = states(3), states(4)
    assert all((s == again.first()).all() for s in first)
    assert (other.first() != first[0]).any()
    np.testing.assert_allclose(seen.after(first[0], CLASS.take([7, 7])), unit[7], atol=1e-6)
    assert seen.after(first[0], CLASS.take([])) is first[0], "a group without words shows nothing"


def test_rounding_takes_no_state_out_of_bounds() -> None:
    seen = States(lambda samples: torch.tensor([[1.0 + 3e-7, 0.0]]).expand(len(samples), 2), CLASS, 5, 0)
    seen._class = torch.full((30, 2), 1 + 1e-6)
    assert seen.first().max() == seen.mean().max() == 1


def test_prompts_of_an_episode_are_joined_without_repeats() -> None:
    script = (2, 5, 2, 0, 1)
    search, policy = Bandit(0).search(5, length=4, reward="parity", alpha_scope="episode"), Scripted(script)
    search.run(policy, states())
    assert [over for *_, over in policy.stored] == [False, False, False, True, False]
    assert [row["prompt"] for row in search.trace] == ["p2", "p2, p5", "p2, p5", "p2, p5, p0", "p1"]
    assert [row["phrase"] for row in search.trace] == [f"p{a}" for a in script]
    times = [row["alpha"] * search.steps / 2 for row in search.trace]
    assert times == pytest.approx([1, 1, 2, 1, 1]), "how often the action was chosen in this episode"
    still, policy = Bandit(0).search(1, length=4, update=False), Scripted([0])
    still.run(policy, states())
    assert policy.stored[0][-1], "an episode ends where nothing was learned"


def test_transitions_are_stored_as_they_happened_and_learned_from_after_each_step() -> None:
    bandit, script = Bandit(2), (2, 5, 3, 0)
    search, policy = bandit.search(4, length=2), Scripted(script)
    search.run(policy, states())
    assert policy.lessons == 4
    assert [action for _, action, *_ in policy.stored] == list(script)
    assert [paid for _, _, paid, *_ in policy.stored] == [bandit.means[a] for a in script]
    assert [row["reward"] for row in search.trace] == [bandit.means[a] for a in script]
    (start, *_), (second, *_), (third, *_), _ = policy.stored
    assert (policy.stored[0][3] == second).all(), "within an episode, a state follows from the last one"
    again = states()
    assert (start == again.first()).all()
    assert (third == again.first()).all(), "an episode starts from class samples"


def test_balanced_samples_go_through_all_actions() -> None:
    space = BalancedActions(5, seed=3)
    drawn = [int(space.sample()) for _ in range(50)]
    assert all(sorted(drawn[i : i + 5]) == list(range(5)) for i in range(0, 50, 5))
    assert len({tuple(drawn[i : i + 5]) for i in range(0, 50, 5)}) > 3
    space.seed(3)
    assert [int(space.sample()) for _ in range(50)] == drawn


def test_round_robin_and_random() -> None:
    search, q = Bandit(0).go(2 * ARMS, search="brute")
    assert q is None
    assert actions(search) == list(range(ARMS)) * 2
    search, _ = Bandit(0).go(400, seed=5, search="random")
    picks = Counter(actions(search))
    assert len(picks) == ARMS
    assert max(picks.values()) < 90


def test_greedy_tries_each_once_and_then_keeps_to_the_best() -> None:
    search, q = Bandit(4).go(3 * ARMS, search="greedy")
    assert q is None
    assert actions(search)[:ARMS] == list(range(ARMS))
    assert set(actions(search)[ARMS:]) == {int(np.argmax(Bandit(4).means))}
    policy = Greedy(3)
    nothing = np.zeros(0, np.float32)
    for action, effect in enumerate((0.1, 0.5, 0.3)):
        assert policy.choose(nothing).action == action
        policy.scored(action, effect)
        policy.store(nothing, action, 0.0, nothing, True)
    assert policy.choose(nothing).action == 1, "no gain is known yet: the best score decides"
    policy.scored(1, 0.4)
    policy.store(nothing, 1, -0.1, nothing, True)
    assert policy.choose(nothing).action == 2


def test_evolution_makes_new_prompts_from_the_best() -> None:
    seeds, nothing = ["red sand", "blue sky", "grass", "snow"], np.zeros(0, np.float32)
    policy = Evolve(seeds, ["green", "dark"], stream(0, 0), single=False)
    known, made = list(seeds), list[str]()
    for _ in range(60):
        choice = policy.choose(nothing)
        if choice.new:
            assert choice.action == len(known)
            assert choice.new not in known
            known.append(choice.new)
            made.append(choice.new)
        policy.scored(choice.action, known[choice.action].count("dark") - 0.1 * len(known[choice.action].split()))
    assert known[:4] == seeds
    assert len(made) >= 20
    allowed = {word for prompt in seeds for word in prompt.split()} | {"green", "dark"}
    assert {word.strip(",") for prompt in made for word in prompt.split()} <= allowed
    assert any(", " in prompt for prompt in made), "two are joined"
    assert max(len(prompt.split()) for prompt in made) <= 8
    early, late = made[: len(made) // 2], made[len(made) // 2 :]
    assert sum(p.count("dark") for p in late) > sum(p.count("dark") for p in early), "what scores best has descendants"
    bears = Evolve(["polar light", "bear fur"], ["ice"], stream(0, 0), single=False, name="polar_bear")
    mixed = [bears.choose(nothing).new for _ in range(60)]
    assert len([p for p in mixed if p]) > 10
    assert not [p for p in mixed if "polar" in p and "bear" in p], "the class is not named by joining"
    single = Evolve(["fine", "poor"], ["great"], stream(1, 0), single=True)
    words = {single.choose(nothing).new for _ in range(10)}
    assert words == {"", "great"}, "a list of words is asked of one word"


def test_dqn_finds_the_best_arm_in_a_short_run() -> None:
    found = []
    for seed in range(20):
        bandit = Bandit(seed, scale=(0.02, 0.2, 2.0)[seed % 3])
        _, q = bandit.go(32, seed, steps=32, gradient_steps=4)
        assert q is not None
        found.append(int(np.argmax(q)) == int(np.argmax(bandit.means)))
    assert np.mean(found) >= 0.95


def test_dqn_records_epsilon_and_q_and_exploits_at_the_end() -> None:
    bandit = Bandit(1)
    search, _ = bandit.go(40, steps=40, gradient_steps=4)
    epsilon = [row["epsilon"] for row in search.trace]
    assert epsilon[: ARMS + 1] == pytest.approx([1.0] * ARMS + [epsilon[ARMS]])
    assert epsilon == sorted(epsilon, reverse=True)
    assert epsilon[-1] == pytest.approx(0.05)
    assert sorted(actions(search)[:ARMS]) == list(range(ARMS))
    assert search.trace[0]["q"] == 0, "nothing is known before the first step"
    best = int(np.argmax(bandit.means))
    assert sum(a == best for a in actions(search)[-10:]) >= 8


def test_dqn_leaves_the_global_generators_alone_and_repeats() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    runs = []
    for _ in range(2):
        search, q = Bandit(2).go(16, seed=7, steps=16, gradient_steps=2)
        runs.append((q, search.trace))
    assert runs[0] == runs[1]
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


class Environment(gymnasium.Env):  # type: ignore[misc]
    """A bandit as the library wants it, for its own loop over steps."""

    def __init__(self, bandit: Bandit, model: Any, seen: States) -> None:
        self.bandit, self.seen = bandit, seen
        self.observation_space, self.action_space = model.observation_space, model.action_space
        self.asked: list[int] = []
        self.state = np.zeros(16, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[State, dict[str, Any]]:
        super().reset(seed=seed)
        self.seen = states(seed) if seed is not None else self.seen
        self.state = self.seen.first()
        return self.state, {}

    def step(self, action: Any) -> tuple[State, float, bool, bool, dict[str, Any]]:
        self.asked.append(int(action))
        group = self.bandit.generate([PHRASES[int(action)]] * 2, range(2))
        self.state = self.seen.after(self.state, group)
        return self.state, float(self.bandit.means[int(action)]), True, False, {}


def test_our_loop_does_what_the_loop_of_the_library_does() -> None:
    shared: dict[str, Any] = {"train_freq": 4, "learning_starts": 5, "gradient_steps": 2, "target_update": 3}
    search, q = Bandit(3).go(32, seed=11, steps=32, **shared)
    dqn = Dqn(ARMS, 16, search.options, steps=32, seed=11)
    model = dqn._model
    model.learning_starts, model.batch_size, model.gradient_steps, model.target_update_interval = 5, 32, 2, 3
    assert model.train_freq.frequency == 4
    env = Environment(Bandit(3), model, states(11))
    model.set_env(env)
    model.env.seed(11)
    with seeded(11):
        model.learn(32, log_interval=None)
    assert env.asked == actions(search)
    assert dqn.q_values(states(11).mean()) == q


def test_states_and_actions_lie_in_the_spaces_that_the_dqn_is_built_for() -> None:
    dqn = Dqn(ARMS, 16, Options(steps=8), steps=8, seed=0)
    check_env(Environment(Bandit(0), dqn._model, states()), skip_render_check=True)


def test_a_budget_that_leaves_nothing_to_learn_is_an_error() -> None:
    with pytest.raises(UsageError, match="learning_starts"):
        Bandit(0).go(20, steps=100, learning_starts=20)
    search, q = Bandit(0).go(2, steps=100)
    assert q is not None
    assert len(search.trace) == 2


def test_no_step_is_taken_beyond_the_last_one() -> None:
    search, _ = Bandit(0).go(6, steps=6, learning_starts=0, train_freq=4)
    assert len(search.trace) == 6


def test_the_search_ends_when_nothing_is_left_to_gain() -> None:
    for policy in ("dqn", "random"):
        search, _ = Bandit(0).go(200, search=policy, steps=200, gradient_steps=1, update=False, patience=5)
        asked = actions(search)
        assert set(asked) == set(range(ARMS))
        assert set(asked[:-1]) != set(range(ARMS)), f"{policy}: it ends as soon as all arms were tried"
        assert 5 < len(asked) < 200
