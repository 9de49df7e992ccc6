"""Shapley and Banzhaf values of cooperative games: which coalitions to evaluate, and each player's worth from them.

A design lists every coalition once, even if several players and samples need it, so that a game is evaluated in one
batch. Exact designs hold all coalitions; sampled designs give standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xcore.contract import UsageError

Kind = Literal["shapley", "banzhaf"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EXACT = 12
"""Up to this number of players `eac` enumerates all coalitions (4096) of its surrogate."""


@dataclass(frozen=True, eq=False)
class Design:
    """Coalitions of n players to evaluate, and how to compute the players' worth from their values.

    Parameters
    ----------
    coalitions
        (m, n) distinct rows; the first is empty, the last holds all players.
    joined, left
        (S, n) indices of rows of `coalitions`: in sample s, player i joins coalition ``left[s, i]``, which makes it
        ``joined[s, i]``.
    weights
        (S, n) weight of each marginal contribution; each column sums to 1. None = equal weights, of samples that come
        in antithetic pairs (2 j, 2 j + 1).
    """

    coalitions: Bools
    joined: Ints
    left: Ints
    weights: Floats | None = None

    @property
    def exact(self) -> bool:
        """Whether it holds all coalitions, so that the worth has no sampling error."""
        return self.weights is not None

    def worth(self, values: Floats) -> tuple[Floats, Floats]:
        """Worth of each player and its standard error (0 if exact), from the values of the coalitions.

        Parameters
        ----------
        values
            (m,) value of each coalition, in the order of `coalitions`.

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
    """All coalitions of n players.

    The Shapley value (Shapley 1953) weights a marginal contribution by the size of the coalition; the Banzhaf value
    (Banzhaf 1965) is the plain mean over all coalitions of the other players.

    Raises
    ------
    UsageError
        There are no players, or more than 20.
    """
    if not 1 <= n <= 20:
        raise UsageError(
            f"the coalitions of {n} players cannot be enumerated", "sample them: 1 to 20 players can be enumerated"
        )
    codes = np.arange(2**n)
    coalitions = (codes[:, None] >> np.arange(n)) & 1 == 1
    left = np.stack([codes[~coalitions[:, i]] for i in range(n)], axis=1)
    sizes = coalitions.sum(axis=1)[left]
    by_size = np.array([1 / (n * comb(n - 1, s)) if kind == "shapley" else 0.5 ** (n - 1) for s in range(n)])
    return Design(coalitions, left + (1 << np.arange(n)), left, by_size[sizes])


def sampled(n: int, kind: Kind, pairs: int, rng: np.random.Generator, evaluations: int | None = None) -> Design:
    """Antithetic pairs of random samples, whose coalitions all players share.

    Shapley: a permutation and its reverse; a player joins the players before it. Banzhaf: a coalition that each player
    joins with probability 1/2, and its complement; a player joins the coalition without it.

    Parameters
    ----------
    pairs
        Number of pairs, at least 2, so that there is a standard error.
    evaluations
        Upper bound on the number of distinct coalitions; the design keeps as many of the pairs as fit, but at least
        two. None = no bound.

    Raises
    ------
    UsageError
        There are no players, or fewer than two pairs.
    """
    if n < 1 or pairs < 2:
        raise UsageError(
            f"{pairs} pairs of samples of {n} players give no standard error",
            "draw at least 2 pairs of at least 1 player",
        )
    joined, left = _from_permutations(n, pairs, rng) if kind == "shapley" else _from_coin_flips(n, pairs, rng)
    if evaluations is not None:
        pairs = max(2, _affordable(np.stack([joined, left], axis=2), evaluations))
        joined, left = joined[: 2 * pairs], left[: 2 * pairs]
    # Sorted as rows of bits, so that the empty coalition is first and the full one last.
    ends = np.array([np.zeros(n, bool), np.ones(n, bool)])
    rows = np.concatenate([ends, joined.reshape(-1, n), left.reshape(-1, n)])
    coalitions, index = np.unique(rows, axis=0, return_inverse=True)
    places = index.reshape(-1)[2:].reshape(2, -1, n)
    return Design(coalitions, places[0], places[1])


def _affordable(rows: Bools, evaluations: int) -> int:
    """How many of the first pairs have at most so many distinct coalitions, with the empty and the full coalition."""
    samples, n = rows.shape[0], rows.shape[-1]
    flat = rows.reshape(-1, n)
    distinct, first = np.unique(flat, axis=0, return_index=True)
    size = distinct.sum(axis=1)
    first = first[(size > 0) & (size < n)]
    new = np.bincount(first // (2 * len(flat) // samples), minlength=samples // 2)
    return int(np.searchsorted(new.cumsum() + 2, evaluations, side="right"))


def _from_permutations(n: int, pairs: int, rng: np.random.Generator) -> tuple[Bools, Bools]:
    forth = rng.permuted(np.tile(np.arange(n), (pairs, 1)), axis=1)
    rank = np.argsort(np.stack([forth, forth[:, ::-1]], axis=1).reshape(-1, n), axis=1)
    left = rank[:, None, :] < rank[:, :, None]  # (S, player, member)
    return left | np.eye(n, dtype=bool), left


def _from_coin_flips(n: int, pairs: int, rng: np.random.Generator) -> tuple[Bools, Bools]:
    coins = rng.random((pairs, n)) < 0.5
    sets = np.stack([coins, ~coins], axis=1).reshape(-1, 1, n)
    own = np.eye(n, dtype=bool)
    return sets | own, sets & ~own
