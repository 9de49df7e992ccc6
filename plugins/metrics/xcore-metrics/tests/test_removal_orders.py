"""Orders, areas and correlations: closed forms and enumeration."""

from __future__ import annotations

from itertools import permutations
from math import comb, factorial

import numpy as np
import pytest
from xcore_metrics.faithfulness.orders import (
    area_under_curve,
    correlations,
    curve_points,
    prefixes,
    random_orders,
    random_permutations,
    random_subsets,
)


def test_stops_hold_both_ends_and_at_most_so_many_steps() -> None:
    assert curve_points(5, 10).tolist() == [0, 1, 2, 3, 4, 5]
    assert curve_points(1, 10).tolist() == [0, 1]
    assert curve_points(100, 4).tolist() == [0, 25, 50, 75, 100]


def test_firsts_are_prefixes_of_each_order() -> None:
    orders = np.array([[2, 0, 1], [1, 2, 0]])
    sets = prefixes(orders, np.array([0, 1, 3]))
    assert sets.shape == (2, 3, 3)
    assert sets[0].tolist() == [[False] * 3, [False, False, True], [True] * 3]
    assert sets[1, 1].tolist() == [False, True, False]


def test_area_is_the_trapezoid_rule_over_shares() -> None:
    assert area_under_curve(np.array([1.0, 0.0]), np.array([0, 1])) == pytest.approx(0.5)
    assert area_under_curve(np.array([4.0, 2.0, 0.0]), np.array([0, 1, 4])) == pytest.approx((3 * 1 + 1 * 3) / 4)
    assert area_under_curve(np.full((2, 5), 7.0), np.arange(5)).tolist() == [7.0, 7.0]


@pytest.mark.parametrize("k", [2, 3, 4, 7])
def test_a_circle_is_fair_closed_under_reversal_and_cheap(k: int) -> None:
    orders = random_orders(k, 1, 10, np.random.default_rng(0))
    assert len(orders) == 2 * k
    for place in range(k):  # every concept comes equally often at every place
        assert np.bincount(orders[:, place], minlength=k).tolist() == [2] * k
    made = {tuple(order) for order in orders.tolist()}
    assert {tuple(reversed(order)) for order in made} == made
    sets = {row.tobytes() for row in prefixes(orders, curve_points(k, 10)).reshape(-1, k)}
    assert len(sets) == k * (k - 1) + 2
    if k == 3:
        assert made == set(permutations(range(3)))


def test_circles_of_many_concepts_start_at_so_many_places() -> None:
    orders = random_orders(40, 2, 5, np.random.default_rng(0))
    assert orders.shape == (20, 40)
    assert (np.sort(orders, axis=1) == np.arange(40)).all()


def test_the_mean_over_a_circle_is_exact_for_effects_that_add_up() -> None:
    effects = np.array([5.0, -1.0, 0.5, 0.0, 3.0])
    counts = curve_points(5, 10)

    def mean(orders: np.ndarray) -> float:
        return float(area_under_curve(prefixes(orders, counts) @ effects, counts).mean())

    everything = np.array(list(permutations(range(5))))
    for seed in range(3):
        assert mean(random_orders(5, 1, 10, np.random.default_rng(seed))) == pytest.approx(mean(everything))


def test_shuffles_enumerate_where_that_is_cheaper() -> None:
    assert len(random_permutations(4, 200, np.random.default_rng(0))) == factorial(4)
    many = random_permutations(9, 200, np.random.default_rng(0))
    assert many.shape == (207, 9)
    assert all(np.bincount(many[:, place]).tolist() == [23] * 9 for place in range(9))


@pytest.mark.parametrize(("k", "n", "made"), [(2, 32, 2), (5, 32, comb(5, 2)), (10, 32, 32)])
def test_sets_are_different_and_hold_half_of_the_concepts(k: int, n: int, made: int) -> None:
    sets = random_subsets(k, n, np.random.default_rng(0))
    assert len({row.tobytes() for row in sets}) == len(sets) == made
    assert (sets.sum(1) == k // 2).all()


def test_correlations_agree_with_numpy_and_say_where_there_is_none() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 3, 9))
    found = correlations(a, b)
    assert found == pytest.approx([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])
    assert np.isnan(correlations(np.full(4, 1e6), np.arange(4.0)))
    assert np.isnan(correlations(np.arange(4.0), np.zeros(4)))
    assert correlations(np.arange(4.0), 3 - np.arange(4.0)) == pytest.approx(-1)
