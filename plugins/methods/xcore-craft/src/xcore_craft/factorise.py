"""Factorisations A ~ U W with U >= 0, and the exact codes U of any rows for a fixed W."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls as scipy_nnls
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from xcore.contract import UsageError
from xcore_craft.semi_nmf import semi_nmf

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factors:
    """A ~ U W with U >= 0, and W >= 0 unless it is a semi-NMF."""

    codes: Array
    """U, (n, k)"""
    atoms: Array
    """W, (k, C): rows of norm 1 (or 0 for an atom that is not used), so that codes have the unit of the activations."""
    error: float
    """||A - U W|| / ||A||, Frobenius norms."""
    iterations: int
    converged: bool
    """Whether the factorisation stopped because of `tol`, not because of `max_iter`."""


def factorise(a: Array, k: int, seed: int, max_iter: int = 1000, tol: float = 1e-4) -> Factors:
    """Factorise non-negative rows with scikit-learn's NMF: coordinate descent, initialised by ``nndsvda``.

    Source: Fel et al. 2023 (CRAFT).

    Parameters
    ----------
    a
        A, (n, C) >= 0.
    k
        Rank, at most min(n, C).
    seed
        Seed of the randomised singular value decomposition that initialises the factors.
    max_iter
        Maximum number of iterations.
    tol
        Stop when an iteration changes the factors by less than this fraction of what the first one changed.

    Raises
    ------
    UsageError
        If k exceeds min(n, C), or `a` has negative entries, or only zeros.
    """
    scale = _checked_scale(a, k)
    low = float(a.min())
    if low < 0:
        raise UsageError(f"cannot factorise negative values (down to {low:.3g}) into non-negative factors")
    model = NMF(k, init="nndsvda", solver="cd", max_iter=max_iter, tol=tol, random_state=seed % 2**32)
    with warnings.catch_warnings():  # `Factors.converged` says it instead
        warnings.simplefilter("ignore", ConvergenceWarning)
        codes = model.fit_transform(a / scale)
    norms = np.linalg.norm(model.components_, axis=1)
    atoms = model.components_ / np.where(norms > 0, norms, 1.0)[:, None]
    codes = codes * norms * scale
    error = float(np.linalg.norm(a - codes @ atoms) / np.linalg.norm(a))
    return Factors(codes, atoms, error, int(model.n_iter_), bool(model.n_iter_ < max_iter))


def factorise_signed(a: Array, k: int, seed: int, max_iter: int = 1000, tol: float = 1e-4) -> Factors:
    """Factorise rows of any sign by semi-NMF: the codes are not negative, the atoms may be.

    The parameters are those of `factorise`, and the errors too, but for negative entries.
    """
    scale = _checked_scale(a, k)
    fit = semi_nmf(a / scale, k, seed, max_iter, tol)
    codes = nnls(a, fit.atoms)
    error = float(np.linalg.norm(a - codes @ fit.atoms) / np.linalg.norm(a))
    return Factors(codes, fit.atoms, error, fit.iterations, fit.converged)


def most_concepts(rows: int, channels: int) -> int:
    """How many concepts are looked for at most, unless the user sets their number: half as many as there are rows."""
    return max(1, min(rows // 2, channels))


def _checked_scale(a: Array, k: int) -> float:
    """The root mean square of the rows; refuses more concepts than rows or channels, and rows that are all zero."""
    n, channels = a.shape
    if k > min(n, channels):
        raise UsageError(
            f"cannot find {k} concepts in the activations of {n} crops with {channels} channels",
            f"set craft.k to at most {min(n, channels)}" + (" or give more images" if n < channels else ""),
        )
    scale = float(np.sqrt(np.mean(a**2)))
    if scale == 0:
        raise UsageError("all activations are zero, so there is nothing to factorise", "choose another layer")
    return scale


def nnls(a: Array, atoms: Array, chunk: int = 4096) -> Array:
    """Non-negative least squares: for each row a the codes u >= 0 that minimise ||a - u W||, exactly.

    Block principal pivoting (Kim and Park 2011, SIAM J. Sci. Comput. 33, algorithm 2) solves many rows at once: each
    row keeps a set of positive codes and exchanges all coordinates that violate the optimality conditions, or only one
    of them when exchanging all makes no progress. Rows that still violate the conditions at the end, because atoms are
    linearly dependent, are solved by Lawson and Hanson's algorithm (scipy).

    Parameters
    ----------
    a
        (n, C), any sign.
    atoms
        W, (k, C).
    chunk
        How many rows are solved at once. It bounds the memory to chunk * k^2 numbers.

    Returns
    -------
    (n, k) >= 0.
    """
    a, atoms = np.asarray(a, dtype=np.float64), np.asarray(atoms, dtype=np.float64)
    codes = np.zeros((len(a), len(atoms)))
    norms = np.linalg.norm(atoms, axis=1)
    alive = norms > 0
    if not alive.any() or not len(a):
        return codes
    unit = atoms[alive] / norms[alive, None]  # so that one tolerance fits all coordinates
    gram, targets = unit @ unit.T, a @ unit.T
    solved = np.concatenate([_pivot(gram, targets[i : i + chunk]) for i in range(0, len(a), chunk)])
    for row in np.flatnonzero(~_optimal(gram, targets, solved)):
        solved[row] = scipy_nnls(unit.T, a[row])[0]
    codes[:, alive] = solved / norms[alive]
    return codes


def _optimal(gram: Array, targets: Array, x: Array) -> NDArray[np.bool_]:
    """Which rows satisfy the optimality conditions: x >= 0, gradient >= 0, and at least one of the two is zero."""
    slack = 1e-9 * np.abs(targets).max(axis=1, keepdims=True)
    gradient = x @ gram - targets
    fine = np.isfinite(x) & (x >= 0) & (gradient >= -slack) & ((x == 0) | (np.abs(gradient) <= slack))
    return np.asarray(fine.all(axis=1))


def _pivot(gram: Array, targets: Array) -> Array:
    """Block principal pivoting for min x G x / 2 - b x, x >= 0, over the rows b of `targets`."""
    n, k = targets.shape
    eye = np.eye(k)
    x = np.zeros((n, k))
    passive = np.zeros((n, k), dtype=bool)
    patience, fewest = np.full(n, 3), np.full(n, k + 1)
    todo = np.arange(n)
    for _ in range(20 * k + 20):
        b, p = targets[todo], passive[todo]
        slack = 1e-12 * np.abs(b).max(axis=1, keepdims=True)
        wrong = np.where(p, x[todo] < -slack, x[todo] @ gram - b < -slack)
        count = wrong.sum(axis=1)
        keep = count > 0
        todo, p, b, wrong, count = todo[keep], p[keep], b[keep], wrong[keep], count[keep]
        if not len(todo):
            break
        better = count < fewest[todo]
        patience[todo] = np.where(better, 3, patience[todo] - 1)
        fewest[todo] = np.minimum(count, fewest[todo])
        stalled = patience[todo] < 0
        last = k - 1 - wrong[:, ::-1].argmax(axis=1)
        wrong[stalled] = eye[last[stalled]].astype(bool)
        p = p ^ wrong
        passive[todo] = p
        # The positive coordinates solve their own system; rows of the identity hold the others at zero.
        system = np.where(p[:, :, None] & p[:, None, :], gram, eye)
        try:
            x[todo] = np.linalg.solve(system, np.where(p, b, 0.0)[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:  # linearly dependent atoms; the caller sees that these rows are not optimal
            x[todo] = np.nan
            break
    return np.maximum(x, 0.0)  # removes rounding errors below zero; NaN stays
