"""Subspaces in which embeddings fall into clusters, one after the other, each orthogonal to those before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn.functional import normalize

LLOYD = 4
"""Most rounds of k-means within one gradient step, which starts from the centres of the step before."""
RESTARTS = 5
"""Of k-means where there are no centres to start from."""
NOTHING = 1e-6
"""Share of the variance below which nothing is left to find a subspace in."""


@dataclass(frozen=True, eq=False)
class Subspace:
    """One attribute: a subspace, and its concepts."""

    basis: Tensor
    """(s, d), orthonormal rows."""
    concepts: Tensor
    """(k, d), each of length 1 and in the subspace."""
    silhouette: float
    """How well the concepts separate the embeddings there, from -1 to 1."""
    worth: float = 0.0
    """What learning makes as large as it can: the silhouette and the weighted fidelity."""

    def assign(self, z: Tensor) -> Tensor:
        """(n,) the nearest concept of each embedding (n, d), by the angle in the subspace."""
        return (z @ self.concepts.T).argmax(1)


def find_subspaces(
    z: Tensor, count: int, k: int, dimensions: int, *, steps: int, starts: int, rate: float, fidelity: float, seed: int
) -> list[Subspace]:
    """Up to `count` subspaces of embeddings (n, d) whose mean is zero.

    After each, all embeddings are projected on its complement, so that the concepts of two attributes are orthogonal.

    Parameters
    ----------
    k
        Concepts in each subspace.
    dimensions
        Of each subspace.

    Returns
    -------
    Fewer where nothing but rounding errors, or fewer dimensions than a subspace has, are left.

    References
    ----------
    Stein et al., ICML 2024, section 4.
    """
    z = z.double()
    left, whole, found = z, float(z.square().sum()), list[Subspace]()
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        if float(left.square().sum()) <= NOTHING * whole:
            break
        if int(torch.linalg.matrix_rank(left, rtol=1e-6)) < dimensions:
            break
        # Inside the span of what is left, so that the new subspace is orthogonal to the ones before.
        span = torch.linalg.svd(left, full_matrices=False)
        rank = int((1e-6 * span.S[0] < span.S).sum())
        axes = span.Vh[:rank]
        inner = left @ axes.T
        tried = [_learned(inner, k, dimensions, i == 0, steps, rate, fidelity, rng) for i in range(starts)]
        best = max(tried, key=lambda made: made.worth)
        found.append(Subspace(best.basis @ axes, best.concepts @ axes, best.silhouette))
        left = left - left @ found[-1].basis.T @ found[-1].basis
    return found


def _learned(
    z: Tensor, k: int, dimensions: int, principal: bool, steps: int, rate: float, fidelity: float, rng: torch.Generator
) -> Subspace:
    """One subspace, learned from the principal components or from a random start."""
    if principal:
        start = torch.eye(z.shape[1], dtype=z.dtype)[:dimensions]  # z is in the basis of its principal components
    else:
        start = torch.randn(dimensions, z.shape[1], generator=rng, dtype=z.dtype)
    weight = start.clone().requires_grad_()
    adam = torch.optim.Adam([weight], lr=rate)
    centres: Tensor | None = None
    best = Subspace(start, start[:0], -1.0, -torch.inf)
    with torch.enable_grad():
        for step in range(steps + 1):
            basis = orthonormal(weight)
            inside = z @ basis.T
            with torch.no_grad():
                labels, centres = spherical_kmeans(inside, k, rng, centres)
            score = silhouette(inside, labels)
            worth = score + fidelity * _kept_by_projection(z, inside @ basis, labels)
            reached, fixed = float(worth.detach()), basis.detach()
            if reached > best.worth:
                best = Subspace(fixed, normalize(centres @ fixed, dim=1), float(score.detach()), reached)
            if step == steps:
                break
            (weight.grad,) = torch.autograd.grad(-worth, [weight])
            adam.step()
    return best


def orthonormal(weight: Tensor) -> Tensor:
    """(s, d) orthonormal rows that span the rows of the weight, with the signs of its own."""
    q, r = torch.linalg.qr(weight.T)
    return (q * r.diagonal().sign()).T


def spherical_kmeans(x: Tensor, k: int, rng: torch.Generator, centres: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Clusters by the angle.

    Parameters
    ----------
    x
        (n, s), of any length.
    centres
        (k, s) to start from; None = the best of several random starts.

    Returns
    -------
    labels (n,) and centres (k, s) of length 1; a cluster that has lost its members keeps its centre.
    """
    unit = normalize(x, dim=1)
    starts = [centres] if centres is not None else [_spread(unit, k, rng) for _ in range(RESTARTS)]
    made = [_lloyd(unit, start) for start in starts]
    labels, found, _ = max(made, key=lambda one: one[2])
    return labels, found


def _spread(unit: Tensor, k: int, rng: torch.Generator) -> Tensor:
    """k of the points, each drawn with a probability that grows with the angle to those before it (k-means++)."""
    rows = [int(torch.randint(len(unit), (1,), generator=rng))]
    for _ in range(k - 1):
        far = (1 - (unit @ unit[rows].T).amax(1)).clamp_min(0) + 1e-12
        rows.append(int(torch.multinomial(far, 1, generator=rng)))
    return unit[rows]


def _lloyd(unit: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, float]:
    for _ in range(LLOYD):
        labels = (unit @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, labels, unit)
        moved = torch.where(sums.norm(dim=1, keepdim=True) > 0, normalize(sums, dim=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    similar = unit @ centres.T
    return similar.argmax(1), centres, float(similar.amax(1).mean())


def silhouette(x: Tensor, labels: Tensor) -> Tensor:
    """Mean silhouette coefficient by the cosine distance; differentiable in x.

    References
    ----------
    Rousseeuw, Silhouettes, Journal of Computational and Applied Mathematics 20, 1987.
    """
    unit = normalize(x, dim=1)
    member = torch.nn.functional.one_hot(labels).to(x)
    member = member[:, member.sum(0) > 0]
    if member.shape[1] < 2:
        return x.sum() * 0 - 1
    size = member.sum(0)
    summed = (1 - unit @ unit.T) @ member
    own_size = member @ size
    own = (summed * member).sum(1) / (own_size - 1).clamp_min(1)
    other = torch.where(member > 0, torch.inf, summed / size).amin(1)
    found = (other - own) / torch.maximum(other, own).clamp_min(1e-9)
    return torch.where(own_size > 1, found, torch.zeros_like(found)).mean()


def _kept_by_projection(z: Tensor, projected: Tensor, labels: Tensor) -> Tensor:
    """Mean cosine of the mean of a cluster with its projection on the subspace."""
    member = torch.nn.functional.one_hot(labels).to(z)
    member = member[:, member.sum(0) > 0]
    whole, part = member.T @ z, member.T @ projected
    return torch.nn.functional.cosine_similarity(whole, part, dim=1).mean()


def present(subspaces: list[Subspace], z: Tensor) -> Tensor:
    """(n, concepts) bool: of each subspace, the concept that is nearest to the embedding, if it is on its side."""
    parts = []
    for subspace in subspaces:
        products = z.double() @ subspace.concepts.T
        nearest = torch.nn.functional.one_hot(products.argmax(1), len(subspace.concepts)).bool()
        parts.append(nearest & (products > 0))
    return torch.cat(parts, 1)


def residuals(z: Tensor, concepts: Tensor, members: Tensor) -> Tensor:
    """|z - sum of lambda_i c_i| of each embedding, with the best lambda >= 0 for the concepts that it has.

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
    (n,); its mean is the compositionality score of Stein et al. (section 3), lower is more compositional.
    """
    atoms, rows, found = concepts.double().numpy(), z.double().numpy(), []
    for row, own in zip(rows, members.numpy(), strict=True):
        found.append(nnls(atoms[own].T, row)[1] if own.any() else float(np.linalg.norm(row)))
    return torch.tensor(found, dtype=torch.float64)
