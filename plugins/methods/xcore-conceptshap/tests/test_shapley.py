"""Shapley values of games whose values are known, exact and by the kernel."""

import numpy as np
import pytest
from xcore_conceptshap.shapley import Coalitions, coalitions_of, kernel_shapley


def additive(members: np.ndarray) -> np.ndarray:
    return members @ np.arange(1.0, members.shape[1] + 1)


def glove(members: np.ndarray) -> np.ndarray:
    """A pair is worth 1: the first has a left glove, the others have right ones."""
    return (members[:, 0] & members[:, 1:].any(1)).astype(float)


def all_sets(k: int) -> Coalitions:
    """All sets with the weights that the kernel gives them, so that the least squares are exact."""
    made = coalitions_of(k, 100, np.random.default_rng(0))
    size = made.members.sum(1)
    weights = np.zeros(len(size))
    inner = (size > 0) & (size < k)
    count = np.bincount(size, minlength=k + 1)
    weights[inner] = (k - 1) / (count[size[inner]] * size[inner] * (k - size[inner]))
    order = np.argsort(size, kind="stable")
    return Coalitions(made.members[order], weights[order])


def test_up_to_ten_concepts_all_sets_are_valued() -> None:
    made = coalitions_of(10, 20, np.random.default_rng(0))
    assert made.weights is None
    assert len(made.members) == 1024
    assert not made.members[0].any()
    assert made.members[-1].all()


@pytest.mark.parametrize(("game", "worth"), [(additive, [1, 2, 3]), (glove, [2 / 3, 1 / 6, 1 / 6])])
def test_known_games(game, worth) -> None:
    exact = coalitions_of(3, 20, np.random.default_rng(0))
    assert exact.shapley(game(exact.members)) == pytest.approx(worth)
    kernel = all_sets(3)
    assert kernel.shapley(game(kernel.members)) == pytest.approx(worth)


def test_the_kernel_meets_the_exact_values_of_any_game() -> None:
    exact, kernel = coalitions_of(6, 20, np.random.default_rng(0)), all_sets(6)
    values = np.random.default_rng(1).normal(size=64)  # the empty set is worth something, too
    code = 1 << np.arange(6)
    by_kernel = kernel.shapley(values[kernel.members @ code])
    assert by_kernel == pytest.approx(exact.shapley(values[exact.members @ code]), abs=1e-10)


def test_beyond_ten_concepts_a_sample_is_near_and_the_sum_is_met() -> None:
    made = coalitions_of(14, 300, np.random.default_rng(0))
    assert made.weights is not None
    assert len(made.members) <= 302
    assert len(np.unique(made.members, axis=0)) == len(made.members)
    rng = np.random.default_rng(2)
    alone, pairs = rng.normal(size=14), np.triu(rng.normal(size=(14, 14)), 1) / 4

    def game(members: np.ndarray) -> np.ndarray:
        m = members.astype(float)
        return 0.3 + m @ alone + ((m @ pairs) * m).sum(1)

    worth = alone + (pairs.sum(0) + pairs.sum(1)) / 2  # a pair shares what it adds
    found = made.shapley(game(made.members))
    assert found.sum() == pytest.approx(game(made.members[-1:])[0] - 0.3, abs=1e-9)
    assert found == pytest.approx(worth, abs=0.02)


def test_one_concept_has_all() -> None:
    assert kernel_shapley(np.array([[False], [True]]), np.array([0.2, 0.9]), np.zeros(2)) == pytest.approx([0.7])
