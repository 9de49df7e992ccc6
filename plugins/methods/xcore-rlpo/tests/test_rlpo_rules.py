"""Rewards, preferences, gates and counts against the tables that they are known by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from types import SimpleNamespace
from typing import Any

import pytest
from xcore_rlpo.algorithm import Search, anc, entropy, halves, icv
from xcore_rlpo.keeping import ALL, NOT_RISEN, NOT_SHOWN, ROSE, TOO_FEW, Verdict, judge
from xcore_rlpo.options import PARITY, Options
from xcore_rlpo.plugin import uses
from xcore_rlpo.policy import Choice, Policy, State
from xcore_rlpo.rules import GroupScores, alpha, preferred, reward, update_decision
from xcore_rlpo.testing import Painter

from xcore.contract import Samples


def pair(ts1: float, ts2: float, e1: float = 0.0, e2: float = 0.0) -> GroupScores:
    return GroupScores((ts1, ts2), (e1, e2))


PAID = Options(preset="parity")


@pytest.mark.parametrize(
    ("ts1", "ts2", "picks", "paid"),
    [
        (0.5, 0.5, 1, 0.2),
        (1.0, 0.5, 1, 0.3),
        (0.6, 0.6, 1, 60),
        (1.0, 1.0, 1, 100),
        (0.0, 0.0, 1, 0),
        (0.5, 0.5, 250, 50),
        (0.5, 0.5, 251, 50),
        (0.5, 0.5, 500, 50),
    ],
)
def test_reward_table_of_the_released_code(ts1: float, ts2: float, picks: int, paid: float) -> None:
    assert reward(pair(ts1, ts2), picks, 500, PAID) == pytest.approx(paid)


def test_alpha_is_clipped_and_strict_at_eta() -> None:
    assert alpha(pair(0.5, 0.5), 1, 500, 0.5) == pytest.approx(0.004), "exactly eta is not above eta"
    assert alpha(pair(0.51, 0.5), 1, 500, 0.5) == pytest.approx(0.004)
    assert alpha(pair(0.51, 0.51), 1, 500, 0.5) == 1
    assert alpha(pair(0, 0), 249, 500, 0.5) == pytest.approx(0.996)
    assert alpha(pair(0, 0), 400, 500, 0.5) == 1


def test_own_reward_is_the_mean_effect() -> None:
    assert reward(pair(1, 1, 0.1, -0.3), 7, 100, Options(reward="ts")) == pytest.approx(-0.1)


def test_a_gain_is_what_the_update_added() -> None:
    scores = pair(1, 1, 0.1, -0.3)
    for kept, gain, paid in (
        (True, 0.15, 0.15),
        (False, -0.2, -0.2),
        (False, 0.15, 0),
        (False, None, 0),
    ):
        assert reward(scores, 2, 100, Options(), Verdict(kept, "", gain, {})) == paid
    assert reward(scores, 1, 100, Options()) == 0, "nothing was added before the first update"


@pytest.mark.parametrize(
    ("options", "effects", "reading", "expected"),
    [
        ({}, (0.1, 0.2), [], (True, ROSE)),
        ({}, (0.1, 0.1), [], (False, NOT_RISEN)),
        ({}, (0.2, 0.1), [0.9], (False, NOT_RISEN)),
        ({}, (None, 0.1), [], (False, TOO_FEW)),
        ({}, (0.1, None), [], (False, TOO_FEW)),
        ({}, (0.1, 0.2), [0.4, 0.4], (True, ROSE)),
        ({}, (0.1, 0.2), [0.39, 0.4], (False, NOT_SHOWN)),
        ({"keep": "all"}, (0.2, 0.1), [0.0], (True, ALL)),
        ({"keep": "all"}, (None, None), [], (True, ALL)),
    ],
)
def test_which_updates_are_kept(
    options: dict[str, Any], effects: Any, reading: list[float], expected: tuple[bool, str]
) -> None:
    found = judge(effects, reading, [0.4, 0.6], Options(**options))
    assert (found.kept, found.why) == expected
    if reading:
        assert found.figures == pytest.approx(
            {"reading": sum(reading) / len(reading), "reading_before": 0.5, "reading_sd": 0.1}
        )


@pytest.mark.parametrize(
    ("options", "scores", "expected"),
    [
        ({}, pair(0.6, 0.5, 0, 1), (0, "ts")),
        ({}, pair(0.5, 0.5, 0, 1), (1, "effect")),
        ({}, pair(0.5, 0.5, 1, 0), (0, "effect")),
        ({}, pair(0.5, 0.5), (None, "tie")),
        ({"preference": "ts"}, pair(0.5, 0.5, 0, 1), (None, "tie")),
        ({"preference": "effect"}, pair(0.9, 0.1, 0, 1), (1, "effect")),
        ({"preset": "parity"}, pair(0.5, 0.5, 1, 0), (1, "tie")),
        ({"preset": "parity"}, pair(0.6, 0.5), (0, "ts")),
        ({"tie": "g2"}, pair(0.5, 0.5), (1, "tie")),
    ],
)
def test_preference(options: dict[str, str], scores: GroupScores, expected: tuple[int | None, str]) -> None:
    assert preferred(scores, Options(**options), coin=False) == expected


def test_random_ties_follow_the_coin() -> None:
    o = Options(tie="random")
    assert [preferred(pair(0.5, 0.5), o, coin)[0] for coin in (False, True)] == [0, 1]


@pytest.mark.parametrize(
    ("options", "scores", "best", "expected"),
    [
        ({"update_rule": "always"}, pair(1, 1), 1, (True, "always")),
        ({"update_rule": "always"}, pair(0, 0), 1, (True, "always")),
        ({"update_rule": "max_below_eta", "eta": 0.5}, pair(0.4, 0.49), 1, (True, "max_below_eta")),
        ({"update_rule": "max_below_eta", "eta": 0.5}, pair(0.4, 0.5), 1, (False, "max at eta")),
        ({"update_rule": "low_gate", "eta": 0.5}, pair(0.4, 0.49), 1, (False, "both below eta")),
        ({"update_rule": "low_gate", "eta": 0.5}, pair(0.4, 0.5), 1, (True, "low_gate")),
        ({"preset": "parity"}, pair(0.5, 0.9), 0.9, (True, "best_so_far")),
        ({"preset": "parity"}, pair(0.5, 0.9), 0.95, (False, "below best")),
        ({"preset": "parity"}, pair(0.51, 0.9), 0.9, (False, "both above eta")),
        ({"update": False}, pair(0, 0.1), 0.1, (False, "off")),
    ],
)
def test_update_rules(options: dict[str, object], scores: GroupScores, best: float, expected: tuple[bool, str]) -> None:
    assert update_decision(scores, 1, best, Options(**options)) == expected  # type: ignore[arg-type]


def test_nothing_is_learned_from_a_tie() -> None:
    assert update_decision(pair(0.1, 0.1), None, -1, Options()) == (False, "tie")


def test_groups_are_disjoint_halves_and_seeded() -> None:
    first, second = halves(3, 7, 10)
    assert sorted(first + second) == list(range(20))
    assert len(first) == len(second) == 10
    assert (first, second) == halves(3, 7, 10)
    assert first != halves(3, 8, 10)[0] != halves(4, 8, 10)[0]
    share = sum(0 in halves(seed, 0, 10)[0] for seed in range(400)) / 400
    assert share == pytest.approx(0.5, abs=0.08), "no position belongs to one group"


def test_counts() -> None:
    assert entropy([3] * 20) == pytest.approx(log(20))
    assert entropy([5, 0, 0]) == 0
    assert entropy([]) == entropy([0, 0]) == 0
    assert anc([3] * 20) == 1
    assert anc([6, 2, 1]) == pytest.approx(0.5)
    assert icv([3] * 20) is None
    assert icv([1, 3]) == pytest.approx(2.0)


def test_parity_changes_defaults_and_nothing_that_is_given() -> None:
    o = Options(preset="parity", n=6)
    assert (o.n, o.update_rule, o.tie, o.reward, o.alpha_scope, o.eta) == (
        6,
        "best_so_far",
        "g2",
        "parity",
        "episode",
        0.5,
    )
    assert set(PARITY) <= set(Options.model_fields)


def test_options_that_make_no_sense_are_refused_by_name(refused: Callable[..., None]) -> None:
    for steps, starts in ((10, 10), (500, 50_000)):
        refused({"steps": steps, "learning_starts": starts}, r"learning_starts is .* learn nothing")
    Options(steps=10, learning_starts=10, search="random")
    refused({"prompts": ["a", "a"]}, "given twice")
    for empty in ("", " \n"):
        refused({"prompts": ["a", empty]}, r"'prompts': .*text 2 of 2 is empty")
    assert Options(prompts=(" a ", "b c\n")).prompts == ("a", "b c")
    refused({"prompts": ["a", " a"]}, "'a' is given twice")
    refused({"epsilon_en": 1}, "epsilon_end")


def test_the_former_option_policy_is_refused_with_its_new_name(refused: Callable[..., None]) -> None:
    for old, now in (
        ("random", "search=random"),
        ("round-robin", "search=brute"),
        ("ranking", "rank=prior, and steps=0"),
    ):
        refused({"policy": old}, rf"the option policy is now called search: write {now}")


def test_options_that_contradict_one_another_are_refused(refused: Callable[..., None]) -> None:
    refused({"length": 2}, "use adapters=one with it")
    refused({"images": 12}, "each draws 2 n = 20 samples")
    refused({"search": "evolve", "rank": "prior"}, "rank=prior cannot judge")
    refused({"search": "evolve", "adapters": "one", "rank": "tcav"}, "use adapters=own with it")
    refused({"adapters": "one", "keep": "gain"}, "use keep=all with it")
    assert Options(adapters="one").keep == Options(preset="parity").keep == "all"
    assert Options(images=205).search_steps == 10
    assert Options(update=False).search_steps == 0, "nothing can be gained"
    assert Options(update=False, reward="ts").search_steps == 100


def test_options_are_grouped_and_those_that_people_set_come_first() -> None:
    groups = [(field.json_schema_extra or {}).get("group", "") for field in Options.model_fields.values()]  # type: ignore[union-attr]
    assert groups[:14] == [""] * 14
    assert "" not in groups[14:]
    starts = [group for i, group in enumerate(groups) if i == 0 or group != groups[i - 1]]
    assert len(starts) == len(set(starts)), "the options of a group stand together"
    assert all(field.description.endswith(".") for field in Options.model_fields.values() if field.description)
    assert all(field.description for field in Options.model_fields.values())


def test_roles_follow_the_options() -> None:
    assert uses(Options()) == ("image-text", "text-embedder", "vqa?")
    assert uses(Options(vocabulary="phrases.txt")) == ("image-text", "text-embedder")
    assert uses(Options(seeds="vocabulary")) == ("image-text", "text-embedder")
    assert uses(Options(prompts=("a",))) == ("image-text?", "text-embedder?")
    assert uses(Options(prompts=("a",), rank="tcav")) == ("image-text?", "text-embedder?")
    for unjudged in ({"keep": "all"}, {"update": False}, {"steps": 0}):
        assert uses(Options(prompts=("a",), rank="tcav", **unjudged)) == ("text-embedder?",)  # type: ignore[arg-type]
    assert uses(Options(prompts=("a",), rank="context")) == ("image-text", "text-embedder?")
    assert uses(Options(prompts=("a",), state="embedding")) == ("image-text", "text-embedder")
    assert uses(Options(prompts=("a",), rank="prior", seeds="vqa")) == ("image-text", "text-embedder")
    assert uses(Options(seeds="vqa")) == ("image-text", "text-embedder", "vqa")
    assert uses(Options(seeds="vqa", places="localiser"))[-1] == "localiser"


class ScriptedActions(Policy):
    """Takes given actions."""

    def __init__(self, *script: int) -> None:
        self.script = iter(script)

    def choose(self, state: State) -> Choice:
        return Choice(next(self.script))


class ScriptedScores:
    """A scorer that gives prepared TCAV scores."""

    def __init__(self, script: list[tuple[float, float]]) -> None:
        self.script = iter(script)

    def score_many(self, sets: Sequence[Samples], render: str) -> list[Any]:
        return [SimpleNamespace(ts=ts, effect=0.0, ts_each=[ts]) for ts in next(self.script)]


def test_scripted_scores_give_the_update_sequence_of_the_released_rule() -> None:
    script = [(0.2, 0.4), (0.3, 0.1), (0.4, 0.4), (0.9, 0.5), (0.6, 1.0), (0.1, 0.1)]
    painter = Painter()
    o = Options(preset="parity", adapt={"lr": 1.0})
    search = Search(painter, ScriptedScores(script), ["red", "blue"], o, steps=500, seed=0, render="as-is")  # type: ignore[arg-type]
    with pytest.raises(StopIteration):  # the script is over after six of the 500 steps
        search.run(ScriptedActions(0, 0, 0, 0, 0, 1))
    digests = [row["adapter"] for row in search.trace]
    assert [row["rule"] for row in search.trace] == [
        "best_so_far",
        "below best",
        "best_so_far",
        "best_so_far",
        "both above eta",
        "best_so_far",
    ]
    assert [row["preferred"] for row in search.trace] == [2, 1, 2, 1, 2, 2]
    assert digests[0] == digests[1] != digests[2]
    assert digests[3] == digests[4], "above eta nothing changes"
    assert painter.adapted == 4
    assert (search.counts, search.updates) == ([5, 1], [3, 1])
    assert [row["reward"] for row in search.trace] == pytest.approx([0.12, 0.08, 0.16, 0.28, 80, 0.04])
