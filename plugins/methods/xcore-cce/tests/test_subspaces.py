"""Subspaces of worlds that are sums of attributes, so that the right concepts are known."""

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from torch import Tensor
from xcore_cce.subspaces import Subspace, find_subspaces, orthonormal, present, residuals, silhouette, spherical_kmeans
from xcore_craft.factorise import factorise

WIDTH = 24
SETTINGS = {"steps": 60, "starts": 3, "rate": 0.05, "fidelity": 10.0}


def world(seed: int, n: int = 160) -> tuple[Tensor, list[Tensor]]:
    """Embeddings (n, d) >= 0: a shape of three plus a colour of three plus noise; and the values of each image."""
    rng = torch.Generator().manual_seed(seed)
    z, labels = torch.zeros(n, WIDTH), list[Tensor]()
    for _ in range(2):
        values = torch.rand(3, WIDTH, generator=rng)
        label = torch.randint(3, (n,), generator=rng)
        labels.append(label)
        z = z + values[label]
    return (z + 0.1 * torch.randn(n, WIDTH, generator=rng)).clamp_min(0), labels


def purity(found: Tensor, label: Tensor) -> float:
    """Share of the images that are in a cluster whose commonest value they have."""
    counts = torch.zeros(int(found.max()) + 1, 3)
    counts.index_put_((found, label), torch.ones(len(found)), accumulate=True)
    return float(counts.amax(1).sum() / len(found))


def subspaces_of(z: Tensor, count: int = 2, seed: int = 0) -> list[Subspace]:
    return find_subspaces(z - z.mean(0), count, 3, 2, seed=seed, **SETTINGS)


@pytest.fixture(scope="module")
def found() -> list[tuple[Tensor, list[Tensor], list[Subspace]]]:
    made = []
    for seed in range(2):
        z, labels = world(seed)
        made.append((z, labels, subspaces_of(z)))
    return made


def test_each_attribute_has_a_subspace_of_its_own(found) -> None:
    for z, labels, subspaces in found:
        centred = (z - z.mean(0)).double()
        table = np.array([[purity(s.assign(centred), label) for label in labels] for s in subspaces])
        print("purity by subspace (rows) and attribute:", table.round(2).tolist())
        own = max((table[0, 0], table[1, 1]), (table[0, 1], table[1, 0]), key=min)
        assert min(own) > 0.95
        assert table.sum() - sum(own) < 1.2  # of the other attribute they say no more than chance


def test_concepts_are_orthogonal_between_subspaces_and_not_within(found) -> None:
    for _, _, (one, two) in found:
        assert float((one.concepts @ two.concepts.T).abs().max()) < 1e-8
        assert torch.allclose(one.basis @ one.basis.T, torch.eye(2).double(), atol=1e-8)
        assert torch.allclose(one.concepts @ one.basis.T @ one.basis, one.concepts, atol=1e-8)
        assert float((one.concepts @ one.concepts.T - torch.eye(3)).abs().max()) > 0.2


def test_sums_of_attributes_are_composed_better_than_by_nmf(found) -> None:
    """Six concepts, two for each image: the mean residual as a share of the length of the centred embeddings."""
    for z, _, subspaces in found:
        centred = z - z.mean(0)
        concepts = torch.cat([s.concepts for s in subspaces])
        ours = residuals(centred, concepts, present(subspaces, centred)).mean()
        factors = factorise(z.double().numpy(), 6, 0, 1000, 1e-4)
        codes = torch.from_numpy(factors.codes * np.linalg.norm(factors.atoms, axis=1))
        members = torch.zeros_like(codes, dtype=torch.bool).scatter_(1, codes.topk(2, 1).indices, True)
        theirs = residuals(z, torch.from_numpy(factors.atoms), members).mean()
        length = centred.norm(dim=1).mean()
        print(f"residual: CCE {float(ours / length):.2f}, NMF {float(theirs / length):.2f}")
        assert float(ours) < 0.9 * float(theirs)


def test_the_same_seed_gives_the_same_subspaces() -> None:
    z, _ = world(0, 60)
    one, two = subspaces_of(z, 1, 4), subspaces_of(z, 1, 4)
    assert torch.equal(one[0].concepts, two[0].concepts)


def test_where_nothing_is_left_there_are_fewer_subspaces() -> None:
    flat = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) @ torch.randn(3, 8)
    made = find_subspaces(flat - flat.mean(0), 4, 3, 2, steps=3, starts=1, rate=0.03, fidelity=1.0, seed=0)
    assert len(made) == 1


def test_the_silhouette_is_that_of_sklearn() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
    labels = torch.arange(40) % 3
    assert float(silhouette(x, labels)) == pytest.approx(silhouette_score(x.numpy(), labels.numpy(), metric="cosine"))


def test_clusters_by_the_angle_and_orthonormal_rows() -> None:
    rng = torch.Generator().manual_seed(0)
    angles = (
        torch.tensor([0.0, 2.0, 4.0]).double()[torch.arange(60) % 3] + 0.1 * torch.randn(60, generator=rng).double()
    )
    x = torch.stack([angles.cos(), angles.sin()], 1) * torch.rand(60, 1, generator=rng)
    labels, centres = spherical_kmeans(x, 3, rng)
    assert purity(labels, torch.arange(60) % 3) == 1
    assert torch.allclose(centres.norm(dim=1), torch.ones(3).double())
    weight = torch.randn(2, 5, generator=rng).double()
    basis = orthonormal(weight)
    assert torch.allclose(basis @ basis.T, torch.eye(2).double(), atol=1e-9)
    assert torch.allclose(weight @ basis.T @ basis, weight, atol=1e-9)


def test_residuals_use_no_negative_amounts() -> None:
    z = torch.tensor([[2.0, 0.0], [-1.0, 3.0], [0.0, 5.0]])
    members = torch.tensor([[True, False], [True, True], [False, False]])
    assert residuals(z, torch.eye(2), members).tolist() == pytest.approx([0, 1, 5])
