"""Convex NMF of rows of any sign (Ding, Li and Jordan 2010, IEEE PAMI 32).

It alternates between codes and atoms as `xcore_craft.semi_nmf` does, and no step raises the error. Instead of the
published multiplicative updates it uses coordinate descent for the codes and projections onto the cone of the rows for
the atoms. It reaches a lower error in fewer iterations and never needs the (n, n) matrix of inner products.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from xcore_craft.semi_nmf import Fit, alternate, clusters

Array = NDArray[np.float64]

PIVOTS = 3
"""How many rows can be added, in one update, to those that an atom of convex NMF is a combination of."""


def convex_nmf(a: Array, k: int, seed: int, max_iter: int = 1000, tol: float = 1e-4) -> Fit:
    """Codes >= 0; each atom is a non-negative combination of rows of `a`.

    The parameters are those of `semi_nmf`, but k is at most n.
    """
    labels = clusters(a, k, seed)[0]
    return alternate(a, np.eye(k)[labels], _Cone(a, k).atoms_for, max_iter, tol)


class _Cone:
    """The few rows of `a` that each atom is a combination of, kept from one update of convex NMF to the next."""

    def __init__(self, a: Array, k: int) -> None:
        norms = np.linalg.norm(a, axis=1)
        self.rays = a[norms > 0] / norms[norms > 0, None]
        self.chosen = [np.zeros(0, dtype=np.intp) for _ in range(k)]
        self.atoms = np.zeros((k, a.shape[1]))
        self.a = a

    def atoms_for(self, codes: Array) -> Array:
        """Move each atom in turn to the point in the cone of the rows that is nearest to its best fit."""
        gram, target = codes.T @ codes, codes.T @ self.a
        for j in np.flatnonzero(np.diag(gram) > 0):
            wanted = self.atoms[j] + (target[j] - gram[j] @ self.atoms) / gram[j, j]
            self.atoms[j], self.chosen[j] = self._project(wanted, self.chosen[j])
        return self.atoms.copy()

    def _project(self, wanted: Array, chosen: NDArray[np.intp]) -> tuple[Array, NDArray[np.intp]]:
        """The point nearest to `wanted` in the cone of the chosen rows, after adding the rows that help most.

        These are steps of Lawson and Hanson's method that start from the rows of the last update, so no step moves away
        from `wanted`.
        """
        for _ in range(PIVOTS + 1):
            weights = nnls(self.rays[chosen].T, wanted)[0] if len(chosen) else np.zeros(0)
            chosen, weights = chosen[weights > 0], weights[weights > 0]
            point = weights @ self.rays[chosen]
            gain = self.rays @ (wanted - point)
            best = int(gain.argmax())
            if gain[best] <= 1e-9 * np.linalg.norm(wanted) or best in chosen:
                break
            chosen = np.append(chosen, best)
        return point, chosen
