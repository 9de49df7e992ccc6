"""Factorisations A ~ U W with U >= 0; `nnls` gives the exact codes U of any rows for a fixed W."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from xcore.contract import UsageError
from xcore.models.codes import nnls as nnls
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
        codes = model.fit_transform((a / scale).astype(np.float32))  # twice as fast, and as near to the rows
    components = model.components_.astype(np.float64)
    norms = np.linalg.norm(components, axis=1)
    atoms = components / np.where(norms > 0, norms, 1.0)[:, None]
    codes = codes.astype(np.float64) * norms * scale
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
