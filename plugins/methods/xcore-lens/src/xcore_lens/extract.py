"""Factorisations, which find the atoms of a dictionary in rows of activations, and encoders of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import TruncatedSVD
from xcore_craft.factorise import factorise, nnls
from xcore_craft.semi_nmf import clusters, semi_nmf

from xcore.contract import UsageError
from xcore_lens.factorise import convex_nmf
from xcore_lens.options import Factorisation

Array = NDArray[np.float64]
Encoder = Literal["nnls", "linear", "onehot"]

ENCODERS: dict[Factorisation, Encoder] = {
    "nmf": "nnls",
    "semi-nmf": "nnls",
    "convex-nmf": "nnls",
    "pca": "linear",
    "kmeans": "onehot",
}
ANY_SIGN: tuple[Factorisation, ...] = tuple(name for name in get_args(Factorisation) if name != "nmf")
"""Extractors that accept activations of any sign."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """The atoms of a dictionary; `encode` gives the codes of any rows."""

    values: Array
    """(k, C)"""
    iterations: int
    """Iterations of the extractor; 0 for those whose iterations are not counted."""
    converged: bool
    """Whether the extractor stopped because of `tol`, not because of `max_iter`."""


def extract(extractor: Factorisation, a: Array, k: int, seed: int, max_iter: int = 1000, tol: float = 1e-4) -> Atoms:
    """The atoms V that minimise ||A - U V|| under the constraints of the extractor.

    - ``nmf``: U, V >= 0 (coordinate descent, `xcore_craft.factorise`);
    - ``semi-nmf``: U >= 0 (`xcore_craft.semi_nmf`);
    - ``convex-nmf``: U >= 0 and V = W A with W >= 0 (`xcore_lens.factorise`);
    - ``pca``: V orthonormal: the leading right singular vectors, which are principal axes if the mean of `a` is zero,
      each with the sign that makes its codes add up to zero or more;
    - ``kmeans``: U one-hot (Lloyd's algorithm).

    Source: Fel et al. 2023 (holistic), equation 1 and table 1.

    Parameters
    ----------
    a
        (n, C); >= 0 for ``nmf``.
    k
        Number of atoms: at most n, and for ``nmf``, ``semi-nmf`` and ``pca`` at most C.
    seed
        The same seed gives the same bits.
    max_iter
        Maximum number of iterations.
    tol
        Relative change at which an iterative extractor stops.

    Raises
    ------
    UsageError
        If k is too large, or all rows are zero.
    """
    n, channels = a.shape
    most = n if extractor in ("kmeans", "convex-nmf") else min(n, channels)
    if k > most:
        raise UsageError(
            f"{extractor} cannot find {k} concepts in {n} positions with {channels} channels",
            f"set lens.k to at most {most}" + (" or give more images" if n < channels else ""),
        )
    if not a.any():
        raise UsageError("all activations are zero, so there is nothing to factorise", "choose another layer")
    if extractor == "nmf":
        factors = factorise(a, k, seed, max_iter, tol)
        return Atoms(factors.atoms, factors.iterations, factors.converged)
    scale = float(np.sqrt(np.mean(a**2)))
    if extractor == "kmeans":
        return Atoms(clusters(a / scale, k, seed)[1] * scale, 0, True)
    if extractor == "pca":
        return Atoms(_turned(a, _singular_vectors(a, k, seed)), 0, True)
    fit = (semi_nmf if extractor == "semi-nmf" else convex_nmf)(a / scale, k, seed, max_iter, tol)
    return Atoms(fit.atoms, fit.iterations, fit.converged)


def _singular_vectors(a: Array, k: int, seed: int) -> Array:
    """(k, C) leading right singular vectors."""
    if k == min(a.shape):  # more than the Lanczos iterations of ARPACK can give
        return np.asarray(np.linalg.svd(a, full_matrices=False)[2])
    with np.errstate(divide="ignore", invalid="ignore"):  # for equal rows, unused shares of the variance are 0 / 0
        return np.asarray(TruncatedSVD(k, algorithm="arpack", random_state=seed % 2**32).fit(a).components_)


def _turned(a: Array, axes: Array) -> Array:
    """The axes with signs that make their codes add up to zero or more.

    If the sum of an axis's codes is zero up to rounding, its largest entry is made positive instead.
    """
    codes = a @ axes.T
    total = codes.sum(0)
    clear = np.abs(total) > 1e-6 * np.abs(codes).sum(0)
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
    return np.asarray(axes * np.where(np.where(clear, total, largest) < 0, -1.0, 1.0)[:, None])


def encode(encoder: Encoder, a: Array, atoms: Array) -> Array:
    """Codes (n, k) of rows `a` (n, C) for fixed atoms (k, C).

    ``nnls``: exact non-negative least squares; ``linear``: inner products (for orthonormal atoms); ``onehot``: 1 for
    the nearest atom (of equally near ones the first) and 0 for all others.
    """
    if encoder == "nnls":
        return nnls(a, atoms)
    products = a @ atoms.T
    if encoder == "linear":
        return products
    nearest = (np.sum(atoms**2, axis=1) - 2 * products).argmin(axis=1)
    return np.asarray(np.eye(len(atoms))[nearest])


def error(a: Array, codes: Array, atoms: Array) -> float:
    """||A - U V|| / ||A||, Frobenius norms."""
    return float(np.linalg.norm(a - codes @ atoms) / np.linalg.norm(a))


def agreement(one: Array, two: Array) -> float:
    """Mean cosine of the atoms of two dictionaries, matched one to one so that it is largest; 1 for the same atoms."""

    def unit(atoms: Array) -> Array:
        norms = np.linalg.norm(atoms, axis=1, keepdims=True)
        return np.asarray(atoms / np.where(norms > 0, norms, 1.0))

    cosine = unit(one) @ unit(two).T
    return float(cosine[linear_sum_assignment(-cosine)].mean())
