"""Values of cooperative games: which coalitions to evaluate, and what each player is worth by their values.

A design lists coalitions once each, whatever the number of players and samples that share them, so a game is asked in
one batch. The exact designs hold all coalitions; the sampled ones give standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xcore.errors import UsageError

Kind = Literal["shapley", "banzhaf"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EXACT = 12
"""Up to this many players all coalitions are enumerated (4096)."""


@dataclass(frozen=True, eq=False)
class Design:
    """Coalitions of n players, and how their values give the players' worth.

    Parameters
    ----------
    coalitions
        (m, n) distinct rows; the first is empty, the last holds all players.
    joined, left
        (S, n) rows of `coalitions`: in sample s, player i turns coalition ``left[s, i]`` into ``joined[s, i]``.
    weights
        (S, n) of each difference, a column sums to 1; None = equal weights of samples that come in antithetic pairs
        (2 j, 2 j + 1).
    """

    coalitions: Bools
    joined: Ints
    left: Ints
    weights: Floats | None = None

    @property
    def exact(self) -> bool:
        """Whether all coalitions are in it."""
        return self.weights is not None

    def worth(self, values: Floats) -> tuple[Floats, Floats]:
        """Worth of each player and its standard error (0 where it is exact), from the values of the coalitions.

        Parameters
        ----------
        values
            (m,) in the order of `coalitions`.

        Returns
        -------
        worth, se : (n,) each
        """
        gains = values[self.joined] - values[self.left]
        if self.weights is not None:
            return (gains * self.weights).sum(axis=0), np.zeros(gains.shape[1])
        pairs = gains.reshape(-1, 2, gains.shape[1]).mean(axis=1)
        return pairs.mean(axis=0), pairs.std(axis=0, ddof=1) / len(pairs) ** 0.5


def exact(n: int, kind: Kind) -> Design:
    """All coalitions of n players (Shapley 1953; Banzhaf 1965, the plain mean over coalitions of the others).

    Raises
    ------
    UsageError
        If there are no players, or more than 20.
    """
    if not 1 <= n <= 20:
        raise UsageError(f"{n} players cannot be enumerated", "from 1 to 20 can; sample permutations beyond")
    codes = np.arange(2**n)
    coalitions = (codes[:, None] >> np.arange(n)) & 1 == 1
    left = np.stack([codes[~coalitions[:, i]] for i in range(n)], axis=1)
    sizes = coalitions.sum(axis=1)[left]
    by_size = np.array([1 / (n * comb(n - 1, s)) if kind == "shapley" else 0.5 ** (n - 1) for s in range(n)])
    return Design(coalitions, left + (1 << np.arange(n)), left, by_size[sizes])


def sampled(n: int, kind: Kind, pairs: int, rng: np.random.Generator, evaluations: int | None = None) -> Design:
    """Antithetic pairs of random samples that share their coalitions among all players.

    Shapley: a permutation and its reverse; a player's gain is over those before it. Banzhaf: a coalition of fair coins
    and its complement; a player's gain is over the coalition without it.

    Parameters
    ----------
    pairs
        At least 2, so that there is a standard error.
    evaluations
        As many of the pairs are taken as have at most so many distinct coalitions, and two at least; None = all.
    """
    if n < 1 or pairs < 2:
        raise UsageError(f"{pairs} pairs of samples of {n} players give no standard error", "draw at least 2")
    joined, left = _of_orders(n, pairs, rng) if kind == "shapley" else _of_coins(n, pairs, rng)
    if evaluations is not None:
        pairs = max(2, _affordable(np.stack([joined, left], axis=2), evaluations))
        joined, left = joined[: 2 * pairs], left[: 2 * pairs]
    # Sorted as rows of bits, so that the empty coalition is first and the whole one last.
    ends = np.array([np.zeros(n, bool), np.ones(n, bool)])
    rows = np.concatenate([ends, joined.reshape(-1, n), left.reshape(-1, n)])
    coalitions, index = np.unique(rows, axis=0, return_inverse=True)
    places = index.reshape(-1)[2:].reshape(2, -1, n)
    return Design(coalitions, places[0], places[1])


def _affordable(rows: Bools, evaluations: int) -> int:
    """How many of the first pairs have together, with both ends, at most so many distinct coalitions."""
    samples, n = rows.shape[0], rows.shape[-1]
    flat = rows.reshape(-1, n)
    distinct, first = np.unique(flat, axis=0, return_index=True)
    size = distinct.sum(axis=1)
    first = first[(size > 0) & (size < n)]
    new = np.bincount(first // (2 * len(flat) // samples), minlength=samples // 2)
    return int(np.searchsorted(new.cumsum() + 2, evaluations, side="right"))


def _of_orders(n: int, pairs: int, rng: np.random.Generator) -> tuple[Bools, Bools]:
    forth = rng.permuted(np.tile(np.arange(n), (pairs, 1)), axis=1)
    rank = np.argsort(np.stack([forth, forth[:, ::-1]], axis=1).reshape(-1, n), axis=1)
    left = rank[:, None, :] < rank[:, :, None]  # (S, player, member)
    return left | np.eye(n, dtype=bool), left


def _of_coins(n: int, pairs: int, rng: np.random.Generator) -> tuple[Bools, Bools]:
    coins = rng.random((pairs, n)) < 0.5
    sets = np.stack([coins, ~coins], axis=1).reshape(-1, 1, n)
    own = np.eye(n, dtype=bool)
    return sets | own, sets & ~own
