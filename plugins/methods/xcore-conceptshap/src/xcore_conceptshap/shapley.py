"""Shapley values of the concepts, from the values of sets of concepts: of all sets, or by the kernel of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xcore_eac.games import exact

from xcore_conceptshap.options import EXACT

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Coalitions:
    """The sets of concepts that are valued."""

    members: Bools
    """(m, k) distinct rows; the first is empty, and the last holds all concepts."""
    weights: Floats | None
    """(m,) how much the value of each counts, of the first and the last nothing, since they are met exactly; None = all
    sets are there, so that the Shapley values have no sampling error."""

    def shapley(self, values: Floats) -> Floats:
        """(k,) from the values (m,) of the sets; they sum to the value of all concepts less that of none."""
        if self.weights is None:
            return exact(self.members.shape[1], "shapley").worth(values)[0]
        return kernel_shapley(self.members, values, self.weights)

    def row(self, members: Bools) -> int | None:
        """Where a set is; None if it is not valued."""
        found = np.flatnonzero((self.members == members).all(1))
        return int(found[0]) if len(found) else None


def coalitions_of(k: int, most: int, rng: np.random.Generator) -> Coalitions:
    """All sets of k concepts if these are no more than ten, otherwise a sample of about `most` sets.

    The sample holds the sets of one concept and of all but one; then sets whose size is drawn with the probability that
    the kernel gives it, together with their complements, as long as they are new.

    References
    ----------
    Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017 (the kernel).
    """
    if k <= EXACT:
        return Coalitions(exact(k, "shapley").coalitions, None)
    ones = np.eye(k, dtype=bool)
    sets = [*ones, *~ones]
    known = {row.tobytes() for row in sets}
    sizes = np.arange(2, k - 1)
    share = (k - 1) / (sizes * (k - sizes))
    for _ in range(20 * most):
        if len(sets) + 4 > max(most, 2 * k + 2):
            break
        row = np.zeros(k, dtype=bool)
        row[rng.choice(k, int(rng.choice(sizes, p=share / share.sum())), replace=False)] = True
        if row.tobytes() not in known:
            sets += [row, ~row]
            known |= {row.tobytes(), (~row).tobytes()}
    members = np.array([np.zeros(k, dtype=bool), *sets, np.ones(k, dtype=bool)])
    size = members.sum(1)
    weights = np.zeros(len(members))
    for s in range(1, k):
        of_size = size == s
        if of_size.any():  # the sets of a size share the weight that all sets of it have
            weights[of_size] = (k - 1) / (s * (k - s)) / of_size.sum()
    return Coalitions(members, weights)


def kernel_shapley(members: Bools, values: Floats, weights: Floats) -> Floats:
    """Shapley values by weighted least squares.

    They minimise the weighted squares of v(S) - v(none) - sum of the values of the members of S, among those that sum
    to v(all) - v(none). The condition is met exactly; the released code gives the two sets a weight of 1e4 instead.

    Parameters
    ----------
    members
        (m, k); the first row is empty, the last holds all.
    values
        (m,).
    weights
        (m,); those of the first and the last row are not looked at.
    """
    k = members.shape[1]
    total = values[-1] - values[0]
    inner, w = members[1:-1].astype(np.float64), weights[1:-1]
    if k == 1:
        return np.array([total])
    # The last value is what the others leave of the sum.
    design = inner[:, :-1] - inner[:, -1:]
    target = values[1:-1] - values[0] - inner[:, -1] * total
    root = np.sqrt(w)
    first = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
    return np.append(first, total - first.sum())
