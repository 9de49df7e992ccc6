"""Subspaces in which embeddings fall into clusters, one after the other, each orthogonal to those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn.functional import normalize

from xcore_cce.clustering import Array, Clustering, discriminant, gradient
from xcore_cce.options import Options

GRADIENT_STARTS = 3
NOTHING = 1e-6
"""Share of the variance below which nothing is left to find a subspace in."""

Search = Callable[[Array, int, np.random.Generator], Clustering | None]


@dataclass(frozen=True, eq=False)
class Subspace:
    """One attribute: a subspace, and its concepts."""

    concepts: Tensor
    """(k, d), each of length 1: the direction from the mean of all embeddings to that of a cluster."""
    filters: Tensor
    """(k, d) and `offsets` (k,): an embedding has the concept for which filter @ z + offset is largest."""
    offsets: Tensor
    silhouette: float
    """How well the concepts separate the embeddings, from -1 to 1."""

    def assign(self, z: Tensor) -> Tensor:
        """(n,) the concept of each embedding (n, d)."""
        return (z.double() @ self.filters.T + self.offsets).argmax(1)


def search_of(options: Options) -> Search:
    """The search that the options name."""
    o = options
    if o.search == "gradient":
        return lambda z, k, rng: gradient(z, k, GRADIENT_STARTS, o.steps, o.rate, rng)
    return lambda z, k, rng: discriminant(z, k, o.starts, rng)


def find_subspaces(
    z: Tensor, count: int, ks: range, search: Search, *, slack: float, least: float, seed: int
) -> list[Subspace]:
    """Up to `count` subspaces of embeddings (n, d) whose mean is zero.

    After each, all embeddings are projected on its complement, so that the concepts of two attributes are orthogonal.

    Parameters
    ----------
    ks
        Numbers of concepts that are tried. Of an attribute with four values any two groups of values separate as well
        as the four do, so it is the largest number that counts whose silhouette is nearly the best.
    slack
        A silhouette is nearly the best if it is at least this share of it.
    least
        Clusters with a smaller silhouette are none, and the search ends.

    References
    ----------
    Stein et al., ICML 2024, section 4: project, cluster, and repeat on the complement. The number of concepts and the
    subspace, which is the span of the centres, are found as described here.
    """
    z = z.double()
    left, whole, found = z, float(z.square().sum()), list[Subspace]()
    rng = np.random.default_rng(seed)
    while len(found) < count and float(left.square().sum()) > NOTHING * whole:
        tried = [(k, search(left.numpy(), k, rng)) for k in ks]
        made = [(k, clusters) for k, clusters in tried if clusters is not None]
        best = max((clusters.silhouette for _, clusters in made), default=-1.0)
        if best < least:
            break
        _, chosen = max((k, c) for k, c in made if c.silhouette >= slack * best)
        labels = torch.from_numpy(chosen.labels)
        centres = torch.stack([left[labels == i].mean(0) for i in range(len(chosen.filters))])
        filters, offsets = torch.from_numpy(chosen.filters), torch.from_numpy(chosen.offsets)
        found.append(Subspace(normalize(centres, dim=1), filters, offsets, chosen.silhouette))
        left = left - left @ spanned(centres).T @ spanned(centres)
    return found


def spanned(rows: Tensor) -> Tensor:
    """(r, d) orthonormal rows that span these (k, d)."""
    _, s, vt = torch.linalg.svd(rows, full_matrices=False)
    kept: Tensor = vt[s > 1e-9 * s[0]]
    return kept


def effects(z: Tensor, subspaces: list[Subspace]) -> list[Subspace]:
    """The same attributes, with concepts that compose best: what each value adds to an embedding, by least squares.

    All attributes are fitted at once (z ~ the sum of one row for each attribute), so that neither what two attributes
    share in direction nor values that go together in the data are counted twice. Concepts of two attributes are then no
    longer exactly orthogonal.
    """
    members = present(subspaces, z).double()
    fitted = torch.linalg.lstsq(members, z.double(), driver="gelsd").solution
    made = []
    for subspace, share, rows in zip(
        subspaces,
        members.mean(0).split([len(s.concepts) for s in subspaces]),
        fitted.split([len(s.concepts) for s in subspaces]),
        strict=True,
    ):
        made.append(replace(subspace, concepts=normalize(rows - share @ rows, dim=1)))
    return made


def present(subspaces: list[Subspace], z: Tensor) -> Tensor:
    """(n, concepts) bool: of each subspace the concept that the embedding has."""
    parts = [torch.nn.functional.one_hot(s.assign(z), len(s.concepts)).bool() for s in subspaces]
    return torch.cat(parts, 1)


def compose(z: Tensor, concepts: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings as sums of the concepts that they have: z ~ sum of lambda_i c_i, with the best lambda >= 0.

    Parameters
    ----------
    z
        (n, d).
    concepts
        (k, d).
    members
        (n, k) bool: the concepts of each embedding.

    Returns
    -------
    amounts : (n, k), lambda; 0 for the concepts that an embedding lacks
    residuals : (n,), |z - sum of lambda_i c_i|; the mean is the compositionality score of Stein et al. (section 3),
        lower is more compositional
    """
    atoms, amounts, residuals = concepts.double().numpy(), torch.zeros(members.shape).double(), list[float]()
    for i, (row, own) in enumerate(zip(z.double().numpy(), members, strict=True)):
        fitted, residual = nnls(atoms[own.numpy()].T, row) if own.any() else ((), float(np.linalg.norm(row)))
        amounts[i, own] = torch.as_tensor(fitted, dtype=torch.float64)
        residuals.append(residual)
    return amounts, torch.tensor(residuals, dtype=torch.float64)
