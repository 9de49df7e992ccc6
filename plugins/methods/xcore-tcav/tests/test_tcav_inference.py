"""The tests keep their level on random concepts and find planted ones."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_tcav.inference import beyond, interval, rank_p, welch_p
from xcore_tcav.scorer import Scorer, nearest

from xcore.contract import NotApplicable, RandomSet, Samples

D, N, WORLDS, TRIALS = 12, 5, 40, 10


class Curved:
    """d = 12 activations; a logit with gradients that share a direction and bend: tanh units plus a linear part."""

    layout = "NC"

    def __init__(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        self.w, self.out = torch.randn(D, 8, generator=g), torch.randn(8, generator=g)
        self.shared = torch.randn(D, generator=g) / 2

    def activations(self, x: Samples) -> Tensor:
        return x.images.flatten(1)

    def head(self, a: Tensor, like: Samples | None = None) -> Tensor:
        return (torch.tanh(a @ self.w) @ self.out + a @ self.shared)[:, None]

    def gradients(self, x: Samples, target: int) -> Tensor:
        slope = 1 - torch.tanh(self.activations(x) @ self.w) ** 2
        return (slope * self.out) @ self.w.T + self.shared


def draw(n: int, *seed: int) -> Samples:
    x = np.random.default_rng(seed).normal(size=(n, 3, 2, D // 6)).astype(np.float32)
    return Samples("image", torch.from_numpy(x), tuple(f"{seed}/{i}" for i in range(n)))


def random_sets(seed: int) -> RandomSet:
    """Sets for a null have other seeds than the negative sets."""
    return lambda n, i, render="as-is", purpose="negative": draw(n, seed, 2, i + 1000 * (purpose == "null"))


def world(seed: int) -> Scorer:
    return Scorer(Curved(seed), 0, draw(15, seed, 1), random_sets(seed), negatives=10, folds=0)


@cache
def p_values() -> tuple[np.ndarray, np.ndarray]:
    """Rank and t-test p-values of 400 concept sets that are as random as everything else."""
    rank, welch = [], []
    for seed in range(WORLDS):
        s = world(seed)
        for score in s.score_many([draw(N, seed, 3, i) for i in range(TRIALS)]):
            rank.append(s.p_values(score, 199, "mixed")[0])
            welch.append(2 * min(s.welch_p_values(score)))
    return np.array(rank), np.array(welch)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1, 0.2])
def test_rank_test_keeps_its_level_on_random_concepts(level: float) -> None:
    rank, _ = p_values()
    slack = 2 * np.sqrt(level * (1 - level) / len(rank))
    assert (rank <= level).mean() <= level + slack


def test_rank_p_is_close_to_uniform_on_random_concepts() -> None:
    assert 0.4 < np.mean(p_values()[0]) < 0.6


def test_the_published_t_test_does_not_keep_its_level() -> None:
    """Its scores share the concept's samples: why `test="ttest"` is marked as not calibrated."""
    _, welch = p_values()
    assert (welch <= 0.05).mean() > 0.2


def test_power_for_a_planted_concept() -> None:
    found = 0
    for seed in range(10):
        s = world(seed)
        planted = draw(N, seed, 4)
        up = s.gradients.mean(0)
        planted.images.add_(3 * (up / up.norm()).view(1, 3, 2, -1))
        score = s.score(planted)
        found += s.p_values(score, 199)[0] <= 0.01
        assert score.effect > s.null(199, N).effect.mean()
    assert found >= 9


def test_the_null_and_the_negatives_are_asked_for_by_their_purpose() -> None:
    asked: list[tuple[str, int]] = []

    def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        asked.append((purpose, index))
        return random_sets(0)(n, index, render, purpose)

    Scorer(Curved(0), 0, draw(15, 0, 1), random_set, negatives=20).null(199, N, counterparts="mixed")
    assert sorted(set(asked)) == [*(("negative", i) for i in range(20)), *(("null", i) for i in range(199))]


def test_rank_p_by_hand() -> None:
    null = np.array([-2.0, -1.0, 0.0, 1.0])
    assert rank_p(5.0, null) == (1 / 5, 1.0), "four sets are too few to read a tail from"
    assert rank_p(0.5, null) == (2 / 5, 4 / 5)
    assert rank_p(1.0, null) == (2 / 5, 1.0), "ties count on both sides"


def test_rank_p_is_exactly_super_uniform_for_exchangeable_sets() -> None:
    values = np.random.default_rng(0).normal(size=50)
    for side in (0, 1):
        p = np.array([rank_p(values[i], np.delete(values, i))[side] for i in range(50)])
        for level in np.arange(1, 51) / 50:
            assert (p <= level + 1e-12).mean() <= level + 1e-12


def test_an_exponential_tail_has_a_closed_form() -> None:
    seen = np.arange(1.0, 11.0)
    for excess in (0.0, 5.0, 21.0, 100.0):
        found = beyond(excess, seen, shapes=np.array([1e-6]))
        assert found == pytest.approx((1 + excess / seen.sum()) ** -len(seen), rel=1e-3)
    assert beyond(21.0, 1e-9 * seen) == pytest.approx(0), "the unit of the excesses is that of the threshold"
    assert beyond(21e5, 1e5 * seen) == pytest.approx(beyond(21.0, seen))


def test_beyond_the_most_extreme_set_p_follows_the_tail() -> None:
    null = np.arange(20.0)  # k = 10: the threshold is 9, the excesses are 1 to 10
    assert rank_p(40.0, null)[0] == pytest.approx(11 / 21 * beyond(31.0, np.arange(1.0, 11.0)))
    assert rank_p(19.5, null)[0] == pytest.approx(1 / 21), "never more than the rank says"
    assert rank_p(-30.0, null) == (1.0, pytest.approx(11 / 21 * beyond(40.0, np.arange(1.0, 11.0))))
    assert rank_p(1e6, null[:19])[0] == 1 / 20, "19 sets are too few to read a tail from"
    assert rank_p(1.0, np.zeros(50))[0] == 1 / 51, "sets that are all alike have no tail"


@pytest.mark.parametrize("j", [20, 60, 120])
@pytest.mark.parametrize("tail", ["norm", "t", "lognorm", "uniform"])
def test_p_keeps_its_level_under_heavy_tails_where_no_rank_can_tell(tail: str, j: int) -> None:
    """The true size at the levels of Holm's correction over 8 and 43 concepts, by the distribution itself."""
    from scipy import stats

    law = {"norm": stats.norm(), "t": stats.t(3), "lognorm": stats.lognorm(1), "uniform": stats.uniform()}[tail]
    nulls = law.rvs((80, j), random_state=np.random.default_rng([j, 11]))
    for level in (0.05 / 8, 0.05 / 43):
        if level < 1 / (j + 1):
            size = np.array([law.sf(least(null, level)) for null in nulls])
            assert size.mean() <= 1.25 * level + 2 * size.std() / len(nulls) ** 0.5


def least(null: np.ndarray, level: float) -> float:
    """The least value whose p is at most the level."""
    low, high = -5.0, 10.0  # logarithm of how far it is above the greatest, in ranges of the null
    for _ in range(12):  # to within a third of a percent
        middle = (low + high) / 2
        p, _ = rank_p(float(null.max() + np.exp(middle) * np.ptp(null)), null)
        low, high = (low, middle) if p <= level else (middle, high)
    return float(null.max() + np.exp(low) * np.ptp(null))


class Clustered:
    """Random samples in 12 clusters; a coherent set is of one cluster, as its activations are the pixels."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 5])
        centres = 2 * rng.normal(size=(12, 1, 3, 2, D // 6))
        x = (centres + rng.normal(size=(12, 16, 3, 2, D // 6))).reshape(-1, 3, 2, D // 6).astype(np.float32)
        self.pool = Samples("image", torch.from_numpy(x), tuple(map(str, range(len(x)))))
        self.seed = seed

    def __call__(self, n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        rng = np.random.default_rng([self.seed, index, int(purpose == "null")])
        return self.pool.take(rng.choice(len(self.pool), n, replace=False).tolist())

    def coherent(self, index: int) -> Samples:
        """A set of a cluster of its own, as random as those of the pool."""
        rng = np.random.default_rng([self.seed, 6, index])
        x = 2 * rng.normal(size=(1, 3, 2, D // 6)) + rng.normal(size=(N, 3, 2, D // 6))
        return Samples("image", torch.from_numpy(x.astype(np.float32)), tuple(f"new/{i}" for i in range(N)))


def test_coherent_sets_are_judged_by_coherent_ones() -> None:
    """Against mixed sets, sets of one cluster are rejected more often than the level."""
    found: dict[str, list[float]] = {"coherent": [], "mixed": []}
    for seed in range(20):
        sets = Clustered(seed)
        s = Scorer(Curved(seed), 0, draw(15, seed, 1), sets, negatives=4, folds=0)  # type: ignore[arg-type]
        for score in s.score_many([sets.coherent(i) for i in range(TRIALS)]):
            for counterparts in ("coherent", "mixed"):
                found[counterparts] += s.p_values(score, 150, counterparts)  # type: ignore[arg-type]
    coherent, mixed = (float((np.array(found[kind]) <= 0.05).mean()) for kind in ("coherent", "mixed"))
    level = 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(found["mixed"]))
    assert coherent <= level < mixed


def test_a_coherent_set_is_a_sample_and_its_nearest_neighbours() -> None:
    a = torch.tensor([[0.0, 0], [1, 0], [0, 1.5], [10, 10], [10, 12]])
    assert nearest(a, 3) == [[0, 1, 2], [1, 0, 2], [2, 0, 1], [3, 4, 2], [4, 3, 2]]
    sets = Clustered(3)
    null = Scorer(Curved(3), 0, draw(15, 3, 1), sets, negatives=5).null(500, N)  # type: ignore[arg-type]
    assert len(null.effect) == len(sets.pool), "one set for each random sample"


def test_samples_of_noise_are_independent() -> None:
    s = Scorer(Curved(3), 0, draw(15, 3, 1), Clustered(3), negatives=5)  # type: ignore[arg-type]
    assert np.array_equal(s.null(30, N, "noise:uniform").effect, s.null(30, N, counterparts="mixed").effect)


def phrases_of(seed: int, vocabulary: int) -> RandomSet:
    """Sets for a null are of one phrase each, and begin anew behind the last phrase."""

    def draw_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        if purpose == "negative":
            return draw(n, seed, 2, index)
        phrase = index % vocabulary
        made = draw(n, seed, 7, phrase)
        return Samples("image", made.images + phrase / 10, made.ids, meta={"prompt": (f"phrase {phrase}",) * n})

    return draw_set  # type: ignore[return-value]


def test_the_unit_of_drawn_sets_is_the_phrase() -> None:
    s = Scorer(Curved(0), 0, draw(15, 0, 1), phrases_of(0, 30), negatives=5)
    null = s.null(199, N, "generated:g")
    assert null.phrases == tuple(f"phrase {i}" for i in range(30))
    assert len(null.without("phrase 3").effect) == 29
    assert "phrase 3" not in null.without("phrase 3").phrases
    score = s.score(draw(N, 0, 9), "generated:g")
    assert s.p_values(score, 199, phrase="phrase 3") == rank_p(score.effect, np.delete(null.effect, 3))
    one = Scorer(Curved(0), 0, draw(15, 0, 1), phrases_of(0, 1), negatives=5)
    with pytest.raises(NotApplicable, match="is the only phrase"):
        one.null(199, N, "generated:g").without("phrase 0")


def test_interval_without_spread_and_with_weights() -> None:
    assert interval(np.full((3, 4), 2.0), np.full(4, 4.0)) == (0.5, 0.5)
    weights = np.array([1.0, 2.0, 3.0])
    assert interval(0.25 * weights * np.ones((5, 1)), weights) == pytest.approx((0.25, 0.25))


def test_welch_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = np.array([0.1, 0.9, 0.4, 0.4]), np.array([0.2, 0.8, 0.85, 0.3, 0.7])
    sides = [stats.ttest_ind(a, b, equal_var=False, alternative=side).pvalue for side in ("greater", "less")]
    assert welch_p(a, b) == pytest.approx(sides, rel=1e-9)


def test_welch_where_nothing_varies() -> None:
    one, zero = np.ones(3), np.zeros(3)
    assert (welch_p(one, one), welch_p(one, zero), welch_p(zero, one)) == ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0))
