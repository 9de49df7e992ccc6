"""The intervals that the benchmark scripts print: they cover what they say."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def intervals() -> ModuleType:
    """benchmarks/intervals.py; benchmarks/ is no package."""
    spec = importlib.util.spec_from_file_location("intervals", ROOT / "benchmarks" / "intervals.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def thirds(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Precision@3 of classes of different difficulty."""
    return rng.binomial(3, rng.beta(2, 2, size=size)) / 3


@pytest.mark.parametrize(
    ("draw", "truth"), [(lambda rng, size: rng.normal(size=size), 0.0), (thirds, 0.5)], ids=["normal", "thirds"]
)
def test_the_t_interval_over_eight_classes_covers_what_it_says_and_the_bootstrap_does_not(intervals, draw, truth):
    rng, trials = np.random.default_rng(0), 2000
    samples = draw(rng, (trials, 8))
    bounds = np.array([intervals.t_interval(x) for x in samples])
    covered = np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1]))
    error = 2 * math.sqrt(0.95 * 0.05 / trials)
    assert abs(covered - 0.95) < error + 0.005
    means = samples[:, rng.integers(8, size=(400, 8))].mean(-1)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    assert np.mean((low <= truth) & (truth <= high)) < 0.91


def test_the_t_interval_is_that_of_scipy(intervals):
    x = [0.1, 0.4, 0.35, 0.8]
    theirs = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert intervals.t_interval(x) == pytest.approx((theirs.low, theirs.high))


def test_the_sign_flip_test_is_exact(intervals):
    assert intervals.sign_flip_p([1.0] * 8) == 2 / 2**8
    assert intervals.sign_flip_p([1.0, -1.0]) == 1
    x = np.random.default_rng(1).normal(0.4, 1, 10)
    theirs = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert intervals.sign_flip_p(x) == pytest.approx(theirs.pvalue)
    assert intervals.sign_flip_p(np.full(20, 0.3)) < 0.001


def test_n_is_always_said_and_equal_values_have_no_interval(intervals):
    def cases(*values):
        return {(str(i), seed): v for i, v in enumerate(values) for seed in (0, 1)}

    assert intervals.shown(cases(*[1.0] * 8)) == "1.00 (all equal, n = 8)"
    assert intervals.shown({("zebra", 0): 0.5}) == "0.50 (n = 1)"
    assert intervals.shown({}) == "n/a"
    assert intervals.shown(cases(0.2, 0.4, 0.6)).endswith(", n = 3")  # classes, not classes times seeds
    assert intervals.shown_difference(cases(0.1, 0.2, 0.3)).endswith(", n = 3, p = .250")


def test_a_share_of_cases_is_over_classes(intervals):
    assert intervals.shown_share({"a": (1, 2), "b": (3, 3)}).endswith("(4 of 5)")
    certain = intervals.shown_share(dict.fromkeys("abcdefgh", (4, 4)))
    assert certain == "1.00 (32 of 32; equal in all classes, n = 8: Wilson [0.68, 1.00])"
    assert intervals.shown_share({"a": (0, 0)}) == "n/a"
    assert intervals.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@pytest.mark.parametrize(("k", "n", "classes"), [(1, 3, 8), (2, 3, 2), (1, 8, 3), (5, 7, 1)])
def test_the_interval_of_equal_shares_is_that_of_the_share_itself(intervals, k, n, classes):
    """By the equation that Wilson's limits solve: (p - share) ** 2 = z ** 2 p (1 - p) / classes."""
    said = intervals.shown_share({str(c): (k, n) for c in range(classes)})
    assert said.startswith(f"{k / n:.2f} ({k * classes} of {n * classes}; equal in all classes")
    limits = intervals.wilson(k / n * classes, classes)
    assert said.endswith(f"Wilson [{limits[0]:.2f}, {limits[1]:.2f}])")
    for p in limits:
        assert (p - k / n) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / classes)


def test_the_interval_of_a_rank_correlation_covers_it(intervals):
    rng = np.random.default_rng(0)
    pairs = rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=(1000, 15))
    truth = 6 / np.pi * np.arcsin(0.7 / 2)  # Spearman's correlation of a normal pair
    found = [intervals.rank_correlation(list(one[:, 0]), list(one[:, 1])) for one in pairs]
    covered = np.mean([low <= truth <= high for _, low, high in found])
    assert 0.92 < covered < 0.98
    r, low, high = intervals.rank_correlation([1, 2, 3, 4], [1, 5, 7, 8])
    assert r == pytest.approx(1)
    assert np.isnan(low)
    assert np.isnan(high)
    assert np.isnan(intervals.rank_correlation([1, 1, 1, 1], [1, 2, 3, 4])[0])
