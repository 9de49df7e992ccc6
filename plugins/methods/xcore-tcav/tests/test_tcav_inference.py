"""The tests keep their level on random concepts and find planted ones."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_tcav.inference import holm, interval, rank_p, welch_p
from xcore_tcav.scorer import Scorer

from xcore.contract import RandomSet, Samples

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
    return Samples("image", torch.from_numpy(x), tuple(map(str, range(n))))


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
            rank.append(s.p_value(score, 199))
            welch.append(s.welch_p_value(score))
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
        found += s.p_value(score, 199) <= 0.01
        assert score.effect > s.null(199, N).effect.mean()
    assert found >= 9


def test_the_null_and_the_negatives_are_asked_for_by_their_purpose() -> None:
    asked: list[tuple[str, int]] = []

    def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        asked.append((purpose, index))
        return random_sets(0)(n, index, render, purpose)

    Scorer(Curved(0), 0, draw(15, 0, 1), random_set, negatives=20).null(199, N)
    assert sorted(asked) == [*(("negative", i) for i in range(20)), *(("null", i) for i in range(200))]


def test_rank_p_by_hand() -> None:
    null = np.array([-2.0, -1.0, 0.0, 1.0])
    assert rank_p(5.0, null) == 1 / 5
    assert rank_p(0.0, null) == 1.0
    assert rank_p(1.0, null) == 4 / 5, "the median of all five is 0; -2, -1 and 1 are as far, and ties count"


def test_rank_p_is_exactly_super_uniform_for_exchangeable_sets() -> None:
    values = np.random.default_rng(0).normal(size=50)
    p = np.array([rank_p(values[i], np.delete(values, i)) for i in range(50)])
    for level in np.arange(1, 51) / 50:
        assert (p <= level + 1e-12).mean() <= level + 1e-12


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_interval_without_spread_and_with_weights() -> None:
    assert interval(np.full((3, 4), 2.0), np.full(4, 4.0)) == (0.5, 0.5)
    weights = np.array([1.0, 2.0, 3.0])
    assert interval(0.25 * weights * np.ones((5, 1)), weights) == pytest.approx((0.25, 0.25))


def test_welch_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = np.array([0.1, 0.9, 0.4, 0.4]), np.array([0.2, 0.8, 0.85, 0.3, 0.7])
    assert welch_p(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9)


def test_welch_where_nothing_varies() -> None:
    one, zero = np.ones(3), np.zeros(3)
    assert (welch_p(one, one), welch_p(one, zero)) == (1.0, 0.0)
