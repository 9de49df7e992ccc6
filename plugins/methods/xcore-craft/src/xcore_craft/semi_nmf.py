"""Semi-NMF of rows of any sign (Ding, Li and Jordan 2010, IEEE PAMI 32).

It alternates between codes and atoms, and no step raises the error. Instead of the published multiplicative updates it
uses coordinate descent for the codes and least squares for the atoms, which reach a lower error in fewer iterations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

Array = NDArray[np.float64]

SWEEPS = 3
"""How many times coordinate descent goes over the codes between two updates of the atoms."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A ~ codes (n, k) @ atoms (k, C)."""

    codes: Array
    atoms: Array
    """Rows of norm 1, or 0 for an atom that is not used."""
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
        Maximum number of iterations; each updates the codes and the atoms.
    tol
        Stop when ten iterations lower the squared error by less than this fraction of it.
    """
    labels = clusters(a, k, seed)[0]

    def atoms_for(codes: Array) -> Array:
        gram = codes.T @ codes
        return np.asarray(np.linalg.lstsq(gram, codes.T @ a, rcond=1e-12)[0])

    return alternate(a, np.eye(k)[labels], atoms_for, max_iter, tol)


def clusters(a: Array, k: int, seed: int) -> tuple[NDArray[np.intp], Array]:
    """Labels (n,) and centres (k, C) of the best of four k-means++ starts; fewer than k labels if rows are repeated."""
    with warnings.catch_warnings():  # a note of the explanation says that a concept occurs in no image
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(k, n_init=4, random_state=seed % 2**32).fit(a)
    return np.asarray(found.labels_), np.asarray(found.cluster_centers_)


def _error(gram: Array, target: Array, atoms: Array) -> float:
    """||a - codes atoms||^2 minus ||a||^2."""
    return float(np.sum((gram @ atoms - 2 * target) * atoms))


def alternate(a: Array, codes: Array, atoms_for: Callable[[Array], Array], max_iter: int, tol: float) -> Fit:
    """Update codes and atoms in turn, until ten iterations lower the squared error by less than the fraction `tol`."""
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
