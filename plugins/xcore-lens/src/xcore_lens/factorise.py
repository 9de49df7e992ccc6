"""Semi-NMF and convex NMF of rows of any sign (Ding, Li and Jordan 2010, IEEE PAMI 32).

Both alternate between codes and atoms so that no step raises the error. Their multiplicative updates are replaced by
coordinate descent on the codes, exact least squares (semi-NMF) and accelerated projected gradients (convex NMF), which
reach lower errors in fewer sweeps and never form the (n, n) matrix of inner products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

Array = NDArray[np.float64]

SWEEPS = 3
"""Sweeps of coordinate descent over the codes between two updates of the atoms."""
INNER = 10
"""Accelerated gradient steps of convex NMF between two updates of the codes."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A ~ codes (n, k) @ atoms (k, C)."""

    codes: Array
    atoms: Array
    """Rows of norm 1, or 0 for an atom that nothing uses."""
    iterations: int
    converged: bool


def semi_nmf(a: Array, k: int, seed: int, max_iter: int = 1000, tol: float = 1e-4) -> Fit:
    """Codes >= 0, atoms of any sign.

    Parameters
    ----------
    a
        (n, C), any sign.
    k
        Rank, at most min(n, C).
    seed
        Seed of the k-means start.
    max_iter
        Updates of codes and atoms, at most.
    tol
        Stops when the squared error falls by less than this share in ten updates.
    """
    labels = clusters(a, k, seed)[0]
    codes = np.eye(k)[labels] + 0.2  # the start that Ding et al. give

    def atoms_for(codes: Array) -> Array:
        gram = codes.T @ codes
        return np.asarray(np.linalg.lstsq(gram, codes.T @ a, rcond=1e-12)[0])

    return _alternate(a, codes, atoms_for, max_iter, tol)


def convex_nmf(a: Array, k: int, seed: int, max_iter: int = 1000, tol: float = 1e-4) -> Fit:
    """Codes >= 0, each atom a non-negative combination of rows of `a`.

    Parameters are those of `semi_nmf`; k is at most n.
    """
    labels = clusters(a, k, seed)[0]
    chosen = np.eye(k)[labels]
    weights = (chosen / np.maximum(chosen.sum(0), 1.0)).T
    solver = _Weights(a, weights)
    return _alternate(a, chosen + 0.2, solver.atoms_for, max_iter, tol)


def clusters(a: Array, k: int, seed: int) -> tuple[NDArray[np.intp], Array]:
    """Labels (n,) and centres (k, C) of the best of four k-means++ starts."""
    found = KMeans(k, n_init=4, random_state=seed % 2**32).fit(a)
    return np.asarray(found.labels_), np.asarray(found.cluster_centers_)


class _Weights:
    """Keeps the weights W >= 0 of convex NMF (atoms = W a) from one update to the next."""

    def __init__(self, a: Array, weights: Array) -> None:
        self.a = a
        self.norms = np.linalg.norm(a, axis=1)
        self.unit = a / np.where(self.norms > 0, self.norms, 1.0)[:, None]
        small = self.unit.T @ self.unit if a.shape[0] > a.shape[1] else self.unit @ self.unit.T
        self.largest = float(np.linalg.eigvalsh(small)[-1])
        self.weights = weights * self.norms

    def atoms_for(self, codes: Array) -> Array:
        """Lowers ||a - codes W a||^2 over W >= 0 by accelerated projected gradients, restarted where they climb."""
        gram, target = codes.T @ codes, codes.T @ self.a
        step = 1.0 / max(float(np.linalg.eigvalsh(gram)[-1]) * self.largest, 1e-300)
        w, atoms = self.weights, self.weights @ self.unit
        best = _error(gram, target, atoms)
        ahead, momentum = w, 1.0
        for _ in range(INNER):
            gradient = (gram @ (ahead @ self.unit) - target) @ self.unit.T
            new = np.maximum(ahead - step * gradient, 0.0)
            new_atoms = new @ self.unit
            error = _error(gram, target, new_atoms)
            if error > best:
                ahead, momentum = w, 1.0
                continue
            grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / grown * (new - w)
            w, atoms, best, momentum = new, new_atoms, error, grown
        self.weights = w
        return np.asarray(atoms)


def _error(gram: Array, target: Array, atoms: Array) -> float:
    """||a - codes atoms||^2 less ||a||^2."""
    return float(np.sum((gram @ atoms - 2 * target) * atoms))


def _alternate(a: Array, codes: Array, atoms_for: Callable[[Array], Array], max_iter: int, tol: float) -> Fit:
    """Updates atoms and codes in turn, until ten updates gain less than `tol` of the squared error."""
    whole = float(np.sum(a**2))
    atoms, before = atoms_for(codes), np.inf
    for iteration in range(1, max_iter + 1):
        gram, target = atoms @ atoms.T, a @ atoms.T
        for _ in range(SWEEPS):
            for j in np.flatnonzero(np.diag(gram) > 0):
                codes[:, j] = np.maximum(codes[:, j] + (target[:, j] - codes @ gram[:, j]) / gram[j, j], 0.0)
        atoms = atoms_for(codes)
        if iteration % 10 == 0:
            error = whole + _error(codes.T @ codes, codes.T @ a, atoms)
            if before - error <= tol * max(error, 1e-12 * whole):
                return _unit(codes, atoms, iteration, True)
            before = error
    return _unit(codes, atoms, max_iter, False)


def _unit(codes: Array, atoms: Array, iterations: int, converged: bool) -> Fit:
    norms = np.linalg.norm(atoms, axis=1)
    return Fit(codes * norms, atoms / np.where(norms > 0, norms, 1.0)[:, None], iterations, converged)
