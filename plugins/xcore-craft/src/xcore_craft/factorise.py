"""Non-negative factorisation A ~ U W, and exact codes of new rows for a fixed W."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls as scipy_nnls
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from xcore.errors import UsageError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factors:
    """A ~ codes (n, k) @ atoms (k, C), both >= 0."""

    codes: Array
    atoms: Array
    """Rows of norm 1 (or 0 for an atom that nothing uses), so that codes carry the unit of the activations."""
    error: float
    """||A - U W|| / ||A||, Frobenius norms."""
    iterations: int
    converged: bool


def factorise(a: Array, k: int, seed: int, max_iter: int = 1000, tol: float = 1e-4) -> Factors:
    """Factorise non-negative rows by coordinate descent from a singular-value start (scikit-learn's ``nndsvda``).

    Parameters
    ----------
    a
        (n, C) >= 0.
    k
        Rank, at most min(n, C).
    seed
        Seed of the randomised singular-value decomposition.
    max_iter, tol
        Sweeps at most, and the share of the first sweep's change at which to stop.

    Raises
    ------
    UsageError
        If k exceeds min(n, C), or `a` has negative or no positive entries.
    """
    n, channels = a.shape
    if k > min(n, channels):
        raise UsageError(
            f"{k} concepts cannot be told from {n} crops of {channels} channels",
            f"set craft.k to at most {min(n, channels)}" + (" or give more images" if n < channels else ""),
        )
    low = float(a.min())
    if low < 0:
        raise UsageError(f"a non-negative factorisation of values down to {low:.3g} is impossible")
    scale = float(np.sqrt(np.mean(a**2)))
    if scale == 0:
        raise UsageError("all activations are zero, there is nothing to factorise", "choose another layer")
    model = NMF(k, init="nndsvda", solver="cd", max_iter=max_iter, tol=tol, random_state=seed % 2**32)
    with warnings.catch_warnings():  # told by `converged` instead
        warnings.simplefilter("ignore", ConvergenceWarning)
        codes = model.fit_transform(a / scale)
    norms = np.linalg.norm(model.components_, axis=1)
    atoms = model.components_ / np.where(norms > 0, norms, 1.0)[:, None]
    codes = codes * norms * scale
    error = float(np.linalg.norm(a - codes @ atoms) / np.linalg.norm(a))
    return Factors(codes, atoms, error, int(model.n_iter_), bool(model.n_iter_ < max_iter))


def nnls(a: Array, atoms: Array, chunk: int = 4096) -> Array:
    """The codes u >= 0 that minimise ||a - u W|| for each row of `a`, exactly, many rows at once.

    Block principal pivoting (Kim and Park 2011, SIAM J. Sci. Comput. 33, algorithm 2): every row keeps its set of
    positive codes and exchanges all coordinates that violate the optimality conditions, one only when that stalls.
    Rows that fail the conditions in the end (atoms that depend on one another) go to Lawson and Hanson's solver.

    Parameters
    ----------
    a
        (n, C), any sign.
    atoms
        (k, C).
    chunk
        Rows solved at once; bounds the memory at chunk k^2 numbers.

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
    unit = atoms[alive] / norms[alive, None]  # equal diagonals: one tolerance fits all coordinates
    gram, targets = unit @ unit.T, a @ unit.T
    solved = np.concatenate([_pivot(gram, targets[i : i + chunk]) for i in range(0, len(a), chunk)])
    for row in np.flatnonzero(~_optimal(gram, targets, solved)):
        solved[row] = scipy_nnls(unit.T, a[row])[0]
    codes[:, alive] = solved / norms[alive]
    return codes


def _optimal(gram: Array, targets: Array, x: Array) -> NDArray[np.bool_]:
    """Rows that fulfil the optimality conditions: x >= 0, gradient >= 0, and one of both zero."""
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
        # The positive coordinates solve their own system; the others are held at zero by rows of the identity.
        system = np.where(p[:, :, None] & p[:, None, :], gram, eye)
        try:
            x[todo] = np.linalg.solve(system, np.where(p, b, 0.0)[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:  # dependent atoms: the caller finds these rows not optimal
            x[todo] = np.nan
            break
    return np.maximum(x, 0.0)  # clips rounding below zero only; NaN stays
