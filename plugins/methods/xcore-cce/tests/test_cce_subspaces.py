"""Subspaces of worlds that are sums of attributes, so that the right concepts are known."""

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from torch import Tensor
from xcore_cce.clustering import cosine_silhouette, discriminant
from xcore_cce.options import Options
from xcore_cce.subspaces import Subspace, compose, effects, find_subspaces, present, search_of
from xcore_cce.testing import World, match, purity, world
from xcore_craft.factorise import factorise

OPTIONS = Options(starts=6)


def found_in(z: Tensor, options: Options = OPTIONS, ks: range = range(2, 6)) -> list[Subspace]:
    o = options
    return find_subspaces(z, o.subspaces, ks, search_of(o), slack=o.slack, least=o.least, seed=0)


@pytest.fixture(scope="module", params=[((3, 3), 24, 0.2, 0), ((4, 3, 3), 32, 0.1, 1)], ids=["two", "three"])
def both(request) -> tuple[World, list[Subspace]]:
    values, d, noise, seed = request.param
    made = world(values, 240, d, noise, seed)
    return made, found_in(made.z)


def test_each_attribute_has_a_subspace_of_its_own_and_there_are_no_others(both) -> None:
    made, subspaces = both
    assert sorted(len(s.concepts) for s in subspaces) == sorted(len(label.unique()) for label in made.labels)
    attributes = set()
    for subspace in subspaces:
        assert purity(made, subspace.concepts) == 1
        attributes.add(int(made.attribute[(subspace.concepts @ made.directions.T).argmax(1)][0]))
    assert len(attributes) == len(subspaces)


def test_concepts_are_the_values(both) -> None:
    made, subspaces = both
    assert match(made, torch.cat([s.concepts for s in subspaces])) > 0.9
    assert match(made, torch.cat([s.concepts for s in effects(made.z, subspaces)])) > 0.99


def test_embeddings_have_the_concepts_of_their_values(both) -> None:
    made, subspaces = both
    for subspace in subspaces:
        assigned, nearest = subspace.assign(made.z), (subspace.concepts @ made.directions.T).argmax(1)
        right = made.members[torch.arange(len(made.z)), nearest[assigned]]
        assert float(right.double().mean()) > 0.98


def test_concepts_of_two_subspaces_are_orthogonal_and_those_of_one_are_not(both) -> None:
    _, (one, two, *_) = both
    assert float((one.concepts @ two.concepts.T).abs().max()) < 1e-8
    assert float((one.concepts @ one.concepts.T - torch.eye(len(one.concepts))).abs().max()) > 0.2


def test_sums_of_attributes_are_composed_better_than_by_nmf(both) -> None:
    """As many concepts, and as many of them for each embedding; NMF sees the embeddings moved up to be positive."""
    made, subspaces = both
    concepts = torch.cat([s.concepts for s in effects(made.z, subspaces)])
    ours = compose(made.z, concepts, present(subspaces, made.z))[1].mean()
    moved = made.z - made.z.amin(0)
    factors = factorise(moved.numpy(), len(concepts), 0)
    codes = torch.from_numpy(factors.codes)
    members = torch.zeros(codes.shape, dtype=torch.bool).scatter_(1, codes.topk(len(subspaces), 1).indices, True)
    theirs = compose(moved, torch.from_numpy(factors.atoms), members)[1].mean()
    least = compose(made.z, made.directions, made.members)[1].mean()
    assert float(ours) < 1.05 * float(least)
    assert float(ours) < 0.7 * float(theirs)


def test_values_that_go_together_are_told_apart_by_least_squares() -> None:
    """Nine in ten embeddings with the first value of one attribute have the first value of the other, too."""
    rng = np.random.default_rng(0)
    first = rng.integers(2, size=400)
    second = np.where(rng.random(400) < 0.9, first, 1 - first)
    vectors = np.eye(4)
    z = torch.from_numpy(vectors[first] + vectors[2 + second])
    z = z - z.mean(0)
    by_truth = [
        Subspace(torch.zeros(2, 4), torch.from_numpy(np.eye(4)[rows]), torch.zeros(2), 1.0) for rows in ([0, 1], [2, 3])
    ]
    truth = torch.tensor([[1.0, -1, 0, 0], [-1, 1, 0, 0]]).double() / 2**0.5
    assert torch.allclose(effects(z, by_truth)[0].concepts, truth, atol=1e-8)


def test_noise_has_no_attributes() -> None:
    z = torch.randn(200, 30, generator=torch.Generator().manual_seed(5)).double()
    assert found_in(z - z.mean(0)) == []


def test_the_published_search_separates_one_attribute() -> None:
    made = world((3,), 60, 8, 0.2, 2)
    subspaces = found_in(made.z, Options(search="gradient", steps=10, subspaces=1), range(3, 4))
    assert match(made, subspaces[0].concepts) > 0.99


def test_the_same_seed_gives_the_same_clusters() -> None:
    z = world((3, 3), 90, 12, 0.3, 3).z.numpy()
    one, two = (discriminant(z, 3, 4, np.random.default_rng(7)) for _ in range(2))
    assert one
    assert two
    assert np.array_equal(one.filters, two.filters)
    assert np.array_equal((z @ one.filters.T + one.offsets).argmax(1), one.labels)


def test_where_too_few_dimensions_are_left_nothing_is_found() -> None:
    z = world((3,), 60, 2, 0.1, 0).z.numpy()
    assert discriminant(z, 4, 3, np.random.default_rng(0)) is None


def test_the_silhouette_is_that_of_sklearn() -> None:
    x = torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1)
    labels = torch.arange(40) % 3
    expected = silhouette_score(x.numpy(), labels.numpy(), metric="cosine")
    assert float(cosine_silhouette(x, labels)) == pytest.approx(expected)


def test_amounts_are_not_negative() -> None:
    z = torch.tensor([[2.0, 0.0], [-1.0, 3.0], [0.0, 5.0]])
    amounts, residuals = compose(z, torch.eye(2), torch.tensor([[True, False], [True, True], [False, False]]))
    assert residuals.tolist() == pytest.approx([0, 1, 5])
    assert amounts.tolist() == [[2, 0], [0, 3], [0, 0]]
