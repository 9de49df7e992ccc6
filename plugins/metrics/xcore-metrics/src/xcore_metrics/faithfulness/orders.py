"""Orders of concepts, areas under curves, and correlations: the part of the removal metrics that needs no model.

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


def curve_points(k: int, steps: int) -> Ints:
    """Number of concepts removed or inserted at each point of a curve: 0, ..., k, in at most `steps` steps."""
    return np.unique(np.linspace(0, k, min(k, steps) + 1).round().astype(np.int64))


def prefixes(order: Ints, counts: Ints) -> Sets:
    """(..., m, k) sets of the first ``counts[j]`` concepts of each order (..., k), for each of the m counts."""
    place = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(place[..., None, :] < counts[:, None])


def area_under_curve(y: Floats, counts: Ints) -> Floats:
    """(...) areas by the trapezoidal rule under values (..., m); the x axis is the share of concepts, from 0 to 1."""
    widths = np.diff(counts / counts[-1])
    return np.asarray(((y[..., 1:] + y[..., :-1]) / 2 * widths).sum(-1))


def random_orders(k: int, circles: int, steps: int, rng: np.random.Generator) -> Ints:
    """Random orders: the concepts are put on a circle at random and read from each start, in both directions.

    In the orders of a circle every concept is equally often at every position, so their mean is exact if the effects of
    concepts add up. The reverse of each order is among them, so insertion and deletion have the same mean area if
    removing a set is the same as inserting the other concepts. The 2 k orders need only k (k - 1) sets of concepts, the
    arcs of the circle.

    Parameters
    ----------
    k
        Number of concepts.
    circles
        Number of circles.
    steps
        Largest number of starts on a circle; they are evenly spaced.

    Returns
    -------
    (2 min(k, steps) circles, k) orders; for k <= 3 and one circle these are all orders.
    """
    starts = curve_points(k, steps)[:-1]
    turned = [np.roll(circle, -s) for circle in (rng.permutation(k) for _ in range(circles)) for s in starts]
    return np.stack([order[::way] for order in turned for way in (1, -1)]).astype(np.int64)


def random_permutations(k: int, n: int, rng: np.random.Generator) -> Ints:
    """(m, k) random orders, about n of them; all k! orders if there are no more than n.

    They come in whole circles of k orders, so that every concept is equally often at every position.
    """
    if factorial(min(k, 20)) <= n:
        return np.array(list(permutations(range(k))), dtype=np.int64)
    circles = [rng.permutation(k) for _ in range(-(-n // k))]
    return np.stack([np.roll(circle, turn) for circle in circles for turn in range(k)]).astype(np.int64)


def random_subsets(k: int, n: int, rng: np.random.Generator) -> Sets:
    """(m, k) different sets of half of the concepts, n of them; all such sets if there are no more than n.

    All sets have the same size, so that the size of a set cannot cause a correlation.
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
    """(...) Pearson correlations along the last axis; nan where one side varies by rounding only."""
    x, y = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    vary = (np.abs(x).max(-1) > 1e-5 * np.abs(a).max(-1)) & (np.abs(y).max(-1) > 1e-5 * np.abs(b).max(-1))
    lengths = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    found = (x * y).sum(-1) / np.where(lengths > 0, lengths, 1.0)
    return np.asarray(np.where(vary & (lengths > 0), np.clip(found, -1.0, 1.0), np.nan))
