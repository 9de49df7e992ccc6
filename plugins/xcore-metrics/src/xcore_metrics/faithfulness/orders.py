"""Orders of concepts, areas under curves, correlations: everything that needs no model.

Sources: RISE (Petsiuk et al. 2018), section 4.2, for insertion and deletion; Bhatt et al., Evaluating and Aggregating
Feature-based Model Explanations (IJCAI 2020), equation 3, for the fidelity correlation; Fel et al. 2023 for both over
concepts.
"""

from __future__ import annotations

from itertools import combinations, permutations
from math import comb, factorial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sets = NDArray[np.bool_]


def stops(k: int, steps: int) -> Ints:
    """How many concepts are done at each point of a curve: 0, ..., k, at most `steps` steps between them."""
    return np.unique(np.linspace(0, k, min(k, steps) + 1).round().astype(np.int64))


def firsts(order: Ints, counts: Ints) -> Sets:
    """(..., m, k) sets of the first ``counts[j]`` concepts of each order (..., k)."""
    place = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(place[..., None, :] < counts[:, None])


def area(y: Floats, counts: Ints) -> Floats:
    """(...) areas by the trapezoid rule under (..., m) values; the x axis is the share of concepts, from 0 to 1."""
    widths = np.diff(counts / counts[-1])
    return np.asarray(((y[..., 1:] + y[..., :-1]) / 2 * widths).sum(-1))


def random_orders(k: int, circles: int, steps: int, rng: np.random.Generator) -> Ints:
    """Random orders: the concepts are laid on a circle at random and read from each start, in both directions.

    On a circle every concept comes equally often at every place, so the mean over it is exact where the effects of
    concepts add up. The reverse of each order is among them, so insertion and deletion have the same mean area wherever
    removing a set is the same as inserting the others; and what 2 k orders ask for are only k (k - 1) sets, the arcs.

    Parameters
    ----------
    k
        Number of concepts.
    circles
        How many circles.
    steps
        Starts on a circle at most, evenly spaced.

    Returns
    -------
    (2 min(k, steps) circles, k); for k <= 3 and one circle these are all orders
    """
    starts = stops(k, steps)[:-1]
    turned = [np.roll(circle, -s) for circle in (rng.permutation(k) for _ in range(circles)) for s in starts]
    return np.stack([order[::way] for order in turned for way in (1, -1)]).astype(np.int64)


def shuffles(k: int, n: int, rng: np.random.Generator) -> Ints:
    """(m, k) random orders, about n; all k! if they are no more.

    They come in whole circles of k, so that no order of the concepts' places is favoured.
    """
    if factorial(min(k, 20)) <= n:
        return np.array(list(permutations(range(k))), dtype=np.int64)
    circles = [rng.permutation(k) for _ in range(-(-n // k))]
    return np.stack([np.roll(circle, turn) for circle in circles for turn in range(k)]).astype(np.int64)


def random_sets(k: int, n: int, rng: np.random.Generator) -> Sets:
    """(m, k) different sets of half of the concepts; all of them if they are no more than n.

    The size is fixed, so that the size of a set cannot correlate with anything.
    """
    size = max(1, k // 2)
    sets: set[tuple[int, ...]] = set()
    if comb(k, size) <= n:
        sets = set(combinations(range(k), size))
    while len(sets) < min(n, comb(k, size)):
        sets.add(tuple(sorted(rng.choice(k, size, replace=False).tolist())))
    made = np.zeros((len(sets), k), dtype=np.bool_)
    for row, members in enumerate(sorted(sets)):
        made[row, list(members)] = True
    return made


def correlations(a: Floats, b: Floats) -> Floats:
    """(...) Pearson correlations along the last axis; NaN where either side does not vary beyond rounding."""
    x, y = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    vary = (np.abs(x).max(-1) > 1e-5 * np.abs(a).max(-1)) & (np.abs(y).max(-1) > 1e-5 * np.abs(b).max(-1))
    lengths = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    found = (x * y).sum(-1) / np.where(lengths > 0, lengths, 1.0)
    return np.asarray(np.where(vary & (lengths > 0), np.clip(found, -1.0, 1.0), np.nan))
