"""Values of games that are known."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from xcore_eac import games

from xcore.contract import UsageError

GAMES = {
    "majority": (3, lambda s: len(s) >= 2, [1 / 3] * 3, [1 / 2] * 3),
    "unanimity": (4, lambda s: len(s) == 4, [1 / 4] * 4, [1 / 8] * 4),
    "glove": (3, lambda s: 2 in s and len(s) >= 2, [1 / 6, 1 / 6, 2 / 3], [1 / 4, 1 / 4, 3 / 4]),
    "additive": (4, lambda s: sum((0.5, -1.0, 2.0, 0.0)[i] for i in s) + 7, [0.5, -1, 2, 0], [0.5, -1, 2, 0]),
    "one player": (1, lambda s: 3 * len(s), [3], [3]),
}


def play(game, coalitions):
    return np.array([float(game(set(np.flatnonzero(c).tolist()))) for c in coalitions])


def random_game(n, seed=0):
    """Values of all coalitions, in the order of the exact design."""
    return np.random.default_rng(seed).normal(size=2**n)


def lookup(values, coalitions):
    return values[(coalitions * (1 << np.arange(coalitions.shape[1]))).sum(axis=1)]


@pytest.mark.parametrize("name", GAMES)
def test_games_with_known_values(name):
    n, game, shapley, banzhaf = GAMES[name]
    for kind, truth in (("shapley", shapley), ("banzhaf", banzhaf)):
        design = games.exact(n, kind)
        worth, se = design.worth(play(game, design.coalitions))
        np.testing.assert_allclose(worth, truth, atol=1e-12)
        assert (se == 0).all()
        assert design.exact


@pytest.mark.parametrize("n", [2, 5, 7])
def test_exact_shapley_is_the_mean_over_all_orders(n):
    values = random_game(n)
    expected = np.zeros(n)
    for order in permutations(range(n)):
        code = 0
        for player in order:
            expected[player] += values[code | 1 << player] - values[code]
            code |= 1 << player
    np.testing.assert_allclose(games.exact(n, "shapley").worth(values)[0], expected / factorial(n), atol=1e-12)


@pytest.mark.parametrize(
    "design", [games.exact(6, "shapley"), games.sampled(6, "shapley", 5, np.random.default_rng(0))]
)
def test_shapley_values_add_up_to_the_gain(design):
    """Efficiency; it holds for samples, too. Banzhaf values need not add up."""
    values = random_game(6)
    worth, _ = design.worth(lookup(values, design.coalitions))
    assert worth.sum() == pytest.approx(values[-1] - values[0])
    banzhaf, _ = games.exact(6, "banzhaf").worth(values)
    assert abs(banzhaf.sum() - (values[-1] - values[0])) > 0.1


@pytest.mark.parametrize("kind", ["shapley", "banzhaf"])
def test_symmetry_and_dummy(kind):
    """Players 0 and 1 are alike, player 2 adds nothing."""
    weights = np.random.default_rng(3).normal(size=(3, 8))

    def game(s):
        return weights[len(s & {0, 1}), sum(1 << (i - 3) for i in s - {0, 1, 2})]

    design = games.exact(6, kind)
    worth, _ = design.worth(play(game, design.coalitions))
    assert worth[0] == pytest.approx(worth[1])
    assert worth[2] == pytest.approx(0, abs=1e-12)
    assert abs(worth[3]) > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_permutations_come_near_exact(seed):
    """2,000 permutations of 8 players; values of coalitions are uniform in [0, 1]."""
    values = np.random.default_rng(seed).random(2**8)
    truth, _ = games.exact(8, "shapley").worth(values)
    design = games.sampled(8, "shapley", 1000, np.random.default_rng(seed))
    worth, _ = design.worth(lookup(values, design.coalitions))
    assert np.abs(worth - truth).max() < 0.02
    assert not design.exact
    assert len(design.coalitions) <= 2**8  # every coalition is asked for once


@pytest.mark.parametrize("kind", ["shapley", "banzhaf"])
def test_samples_are_unbiased_and_their_standard_errors_true(kind):
    values = random_game(7)
    truth, _ = games.exact(7, kind).worth(values)
    found, errors = [], []
    for seed in range(300):
        design = games.sampled(7, kind, 12, np.random.default_rng(seed))
        worth, se = design.worth(lookup(values, design.coalitions))
        found.append(worth)
        errors.append(se)
    spread = np.std(found, axis=0, ddof=1)
    assert (np.abs(np.mean(found, axis=0) - truth) < 4 * spread / 300**0.5).all()
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(errors), axis=0)), spread, rtol=0.2)


def test_reverses_make_pairwise_games_exact():
    """A game of single players and pairs has the same gain in a permutation and its reverse, together."""
    rng = np.random.default_rng(0)
    alone, pair = rng.normal(size=6), rng.normal(size=(6, 6))
    truth = alone + (np.triu(pair, 1) + np.triu(pair, 1).T).sum(axis=1) / 2
    design = games.sampled(6, "shapley", 2, rng)
    x = design.coalitions.astype(float)
    worth, se = design.worth(x @ alone + ((x @ np.triu(pair, 1)) * x).sum(axis=1))
    np.testing.assert_allclose(worth, truth, atol=1e-12)
    np.testing.assert_allclose(se, 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["shapley", "banzhaf"])
@pytest.mark.parametrize("n", [5, 10, 20])
def test_the_budget_bounds_the_coalitions_and_is_used(kind, n):
    for budget in (100, 256, 500):
        design = games.sampled(n, kind, budget, np.random.default_rng(0), evaluations=budget)
        m = len(design.coalitions)
        assert m <= budget
        assert m > budget - 2 * (n + 1) or m == 2**n
        assert len(np.unique(design.coalitions, axis=0)) == m
        assert not design.coalitions[0].any()
        assert design.coalitions[-1].all()


def test_two_pairs_are_the_least():
    assert len(games.sampled(30, "shapley", 50, np.random.default_rng(0), evaluations=8).left) == 4
    with pytest.raises(UsageError, match="no standard error"):
        games.sampled(4, "shapley", 1, np.random.default_rng(0))
    with pytest.raises(UsageError, match="coalitions of 21 players cannot be enumerated"):
        games.exact(21, "shapley")


def test_banzhaf_and_shapley_disagree_about_the_best_player():
    """Among random games of 4 players in about one of five; so the two are not to be confused."""
    shapley, banzhaf = games.exact(4, "shapley"), games.exact(4, "banzhaf")
    other = np.mean(
        [shapley.worth(v)[0].argmax() != banzhaf.worth(v)[0].argmax() for v in (random_game(4, s) for s in range(500))]
    )
    assert 0.1 < other < 0.3
