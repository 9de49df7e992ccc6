"""Labels by which embeddings fall into clusters in some subspace, whatever else varies in them.

A sum of several attributes falls into no few clusters as a whole: where each of three attributes has four values, there
are 64. But in the right subspace, where only one attribute varies, there are four. Two searches look for it:

- `discriminant` turns to and fro between k-means and the subspace that separates its clusters best. All directions have
  the same variance first (whitening), so that the subspaces of independent attributes are orthogonal to one another.
- `gradient` climbs the silhouette over orthonormal bases, as Stein et al. do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from torch import Tensor
from torch.nn.functional import normalize, one_hot

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

FIRST, CONTINUED, ROUNDS = 6, 4, 30
"""Turns between clusters and subspace from each start, how many of these go on, and for how many turns at most."""
SMALLEST = 1e-3
"""Principal components with a smaller standard deviation, as a share of the largest, are left out."""
LLOYD = 3
"""Most rounds of k-means within one turn, which starts from the centres of the turn before."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """k clusters of embeddings, and how they are read from an embedding."""

    labels: Labels
    """(n,) from 0 to k - 1; no cluster is empty."""
    filters: Array
    """(k, d): an embedding is in the cluster for which filter @ z + offset is largest."""
    offsets: Array
    """(k,)"""
    silhouette: float
    """How well the clusters are separated in their subspace, from -1 to 1."""


def discriminant(z: Array, k: int, starts: int, rng: np.random.Generator) -> Clustering | None:
    """Clusters that are separated best in k - 1 dimensions of the whitened embeddings.

    From each random subspace: k-means there, then the subspace of the centres that were found (in whitened embeddings,
    linear discriminant analysis), k-means in it, and so on until no label changes. The search is made among all
    principal components that samples suffice for, among half of them, and among a quarter: in fewer it finds more
    easily what they hold.

    Parameters
    ----------
    z
        (n, d), with mean zero.
    starts
        Random subspaces from which the search starts, for each number of components.

    Returns
    -------
    The clusters with the greatest silhouette; None where fewer than k - 1 components are left, or each search lost a
    cluster.

    References
    ----------
    Ding, Li, Adaptive Dimension Reduction Using Discriminant Analysis and K-means Clustering, ICML 2007.
    """
    found, whiten = list[Clustering](), _whitening(z)
    most = whiten.shape[1]
    for m in sorted({most, most // 2, most // 4}):
        if m >= k - 1 and (one := _turns(z @ whiten[:, :m], k, starts, rng)):
            labels, basis = one
            inside = z @ whiten[:, :m] @ basis.T
            centres = _centres(inside, labels, k)
            filters = 2 * centres @ basis @ whiten[:, :m].T  # the nearest centre c has the largest 2 c x - c c
            silhouette = float(silhouette_score(inside, labels))
            found.append(Clustering(labels, filters, -np.square(centres).sum(1), silhouette))
    return max(found, key=lambda clusters: clusters.silhouette, default=None)


def _turns(white: Array, k: int, starts: int, rng: np.random.Generator) -> tuple[Labels, Array] | None:
    """Labels (n,) and basis (k - 1, m) of the start whose clusters explain most of the variance in their subspace."""
    begun = list[tuple[float, Labels, Array]]()
    for _ in range(starts):
        basis = np.linalg.qr(rng.standard_normal((white.shape[1], k - 1)))[0].T
        inside = white @ basis.T
        begun.append(_turned(white, _lloyd(inside, _spread(inside, k, rng)), basis, k, FIRST))
    begun.sort(key=lambda one: -one[0])
    ended = [_turned(white, labels, basis, k, ROUNDS) for explained, labels, basis in begun[:CONTINUED] if explained]
    best = max(ended, key=lambda one: one[0], default=None)
    return best[1:] if best and best[0] else None


def _turned(white: Array, labels: Labels, basis: Array, k: int, rounds: int) -> tuple[float, Labels, Array]:
    """Explained share of the variance, labels and basis after so many turns; 0 where a cluster was lost."""
    explained = 0.0
    for _ in range(rounds):
        if len(np.unique(labels)) < k:
            return 0.0, labels, basis
        basis, explained = _between(white, labels, k)
        inside = white @ basis.T
        moved = _lloyd(inside, _centres(inside, labels, k))
        if (moved == labels).all():
            break
        labels = moved
    return (explained if len(np.unique(labels)) == k else 0.0), labels, basis


def _whitening(z: Array) -> Array:
    """(d, m) by which embeddings become principal components of variance 1; m is at most a tenth of the samples.

    In more dimensions some subspace would show clusters by chance.
    """
    _, s, vt = np.linalg.svd(z, full_matrices=False)
    m = min(int((s > SMALLEST * s[0]).sum()), max(1, len(z) // 10))
    return np.asarray(vt[:m].T / s[:m] * np.sqrt(len(z)))


def _centres(x: Array, labels: Labels, k: int) -> Array:
    member = np.eye(k)[labels]
    return np.asarray(member.T @ x / member.sum(0)[:, None])


def _between(white: Array, labels: Labels, k: int) -> tuple[Array, float]:
    """(k - 1, m) orthonormal rows that span the centres, and the share of the variance there that is between them."""
    weighted = _centres(white, labels, k) * np.sqrt(np.bincount(labels, minlength=k) / len(white))[:, None]
    _, s, vt = np.linalg.svd(weighted, full_matrices=False)
    return vt[: k - 1], float(np.mean(s[: k - 1] ** 2))


def _lloyd(x: Array, centres: Array) -> Labels:
    labels = np.zeros(len(x), dtype=np.int64)
    for _ in range(LLOYD):
        labels = (np.square(centres).sum(1) - 2 * x @ centres.T).argmin(1)
        member = np.eye(len(centres))[labels]
        size = member.sum(0)[:, None]
        moved = np.where(size > 0, member.T @ x / np.maximum(size, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return labels


def _spread(x: Array, k: int, rng: np.random.Generator) -> Array:
    """k of the points, each drawn with a probability that grows with the distance to those before it (k-means++)."""
    rows = [int(rng.integers(len(x)))]
    far = np.square(x - x[rows[0]]).sum(1)
    for _ in range(k - 1):
        rows.append(int(rng.choice(len(x), p=far / far.sum())) if far.sum() > 0 else int(rng.integers(len(x))))
        far = np.minimum(far, np.square(x - x[rows[-1]]).sum(1))
    return np.asarray(x[rows])


def gradient(z: Array, k: int, starts: int, steps: int, rate: float, rng: np.random.Generator) -> Clustering | None:
    """Clusters by the angle in the subspace of k - 1 dimensions, 2 at least, that has the greatest silhouette.

    Adam climbs the silhouette of spherical k-means (by the cosine distance) over orthonormal bases; the first start is
    the principal components, the others are random. Kept is the step with the greatest silhouette.

    Parameters
    ----------
    z
        (n, d), with mean zero.
    starts, steps, rate
        Bases from which the search starts, steps of Adam from each, and its learning rate.

    Returns
    -------
    None where too few dimensions are left.

    References
    ----------
    Stein et al., ICML 2024, section 4.
    """
    _, s, vt = np.linalg.svd(z, full_matrices=False)
    axes = vt[s > SMALLEST * s[0]]  # within the span of what is left, so that it is orthogonal to what was taken
    dimensions = max(2, k - 1)
    if len(axes) < dimensions:
        return None
    inner, best = torch.from_numpy(z @ axes.T), None
    for start in range(starts):
        drawn = np.eye(dimensions, len(axes)) if start == 0 else rng.standard_normal((dimensions, len(axes)))
        weight = torch.from_numpy(drawn).requires_grad_()
        adam, centres = torch.optim.Adam([weight], lr=rate), None
        for _ in range(steps):
            q, r = torch.linalg.qr(weight.T)
            basis = (q * r.diagonal().sign()).T
            inside = normalize(inner @ basis.T, dim=1)
            fixed = inside.detach().numpy()
            centres = _unit(_spread(fixed, k, rng)) if centres is None else centres
            labels = (fixed @ centres.T).argmax(1)
            centres = _unit(np.eye(k)[labels].T @ fixed)
            labels = (fixed @ centres.T).argmax(1)
            if len(np.unique(labels)) < k:
                centres = None
                continue
            worth = cosine_silhouette(inside, torch.from_numpy(labels))
            if best is None or float(worth.detach()) > best.silhouette:
                filters = centres @ basis.detach().numpy() @ axes
                best = Clustering(labels, filters, np.zeros(k), float(worth.detach()))
            with torch.enable_grad():
                (weight.grad,) = torch.autograd.grad(-worth, [weight])
            adam.step()
    return best


def _unit(x: Array) -> Array:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def cosine_silhouette(unit: Tensor, labels: Tensor) -> Tensor:
    """Mean silhouette coefficient of points of length 1 by the cosine distance; differentiable in the points.

    References
    ----------
    Rousseeuw, Silhouettes, Journal of Computational and Applied Mathematics 20, 1987.
    """
    member = one_hot(labels).to(unit)
    size = member.sum(0)
    summed = (1 - unit @ unit.T) @ member
    own_size = member @ size
    own = (summed * member).sum(1) / (own_size - 1).clamp_min(1)
    other = torch.where(member > 0, torch.inf, summed / size).amin(1)
    found = (other - own) / torch.maximum(other, own).clamp_min(1e-9)
    return torch.where(own_size > 1, found, torch.zeros_like(found)).mean()
