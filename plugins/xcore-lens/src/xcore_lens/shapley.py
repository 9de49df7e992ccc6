"""Shapley values of any game on few players, exactly or by permutations."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Game = Callable[[Array], Array]
"""Coalitions (m, players) of 0 and 1 -> worths (m,)."""

EXACT = 10
"""Players up to which all 2^players coalitions are asked."""


def shapley(game: Game, players: int, permutations: int = 64, seed: int | list[int] = 0) -> Array:
    """(players,) Shapley values; they add up to the worth of all less that of none.

    Exact for up to `EXACT` players; beyond, the mean over random permutations, each used in both directions (Mitchell
    et al. 2022, JMLR 23, section 3.1), with each coalition asked once.

    Parameters
    ----------
    permutations
        An even number; the price is about permutations * (players - 1) coalitions.
    """
    return _exact(game, players) if players <= EXACT else _sampled(game, players, permutations, seed)


def _exact(game: Game, players: int) -> Array:
    coalitions = (np.arange(2**players)[:, None] >> np.arange(players)) & 1
    worth = game(coalitions.astype(np.float64))
    size = coalitions.sum(1)
    weight = np.array([1 / (players * comb(players - 1, s)) for s in range(players)])
    values = np.zeros(players)
    for i in range(players):
        without = np.flatnonzero(coalitions[:, i] == 0)
        values[i] = weight[size[without]] @ (worth[without + 2**i] - worth[without])
    return values


def _sampled(game: Game, players: int, permutations: int, seed: int | list[int]) -> Array:
    rng = np.random.default_rng(seed)
    forward = np.argsort(rng.random((permutations // 2, players)), axis=1)
    orders = np.concatenate([forward, forward[:, ::-1]])
    rank = np.argsort(orders, axis=1)
    # chains[p, s, i]: whether player i is among the first s of permutation p
    chains = (rank[:, None, :] < np.arange(players + 1)[:, None]).astype(np.float64)
    asked, index = np.unique(chains.reshape(-1, players), axis=0, return_inverse=True)
    worth = game(asked)[index.reshape(chains.shape[:2])]
    values = np.zeros(players)
    np.add.at(values, orders, np.diff(worth, axis=1))
    return values / len(orders)
