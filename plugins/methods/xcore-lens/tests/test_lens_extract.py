"""Extractors against planted dictionaries, scikit-learn and the published update rules."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.optimize import nnls as scipy_nnls
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF, PCA
from xcore_craft.semi_nmf import semi_nmf
from xcore_lens.extract import ENCODERS, agreement, encode, error, extract
from xcore_lens.factorise import convex_nmf

from xcore.contract import UsageError

EXTRACTORS = list(ENCODERS)


def planted(signed, k=5, n=400, channels=30, seed=0):
    """Sparse codes, a row of its own for each concept, and atoms of either sign or none."""
    rng = np.random.default_rng(seed)
    codes = rng.random((n, k)) * (rng.random((n, k)) < 0.4)
    codes[:k] = np.eye(k)
    atoms = rng.normal(size=(k, channels)) if signed else rng.random((k, channels)) * (rng.random((k, channels)) < 0.4)
    if not signed:
        atoms[:, :k] = np.eye(k)
    return codes, atoms


def cosines(one, two):
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, two))
    rows, columns = linear_sum_assignment(-(one @ two.T))
    return (one @ two.T)[rows, columns]


def rows(seed=0, n=200, channels=24, signed=False):
    """Rows of no exact rank."""
    rng = np.random.default_rng(seed)
    a = rng.gamma(0.5, size=(n, 6)) @ rng.gamma(0.5, size=(6, channels)) + 0.1 * rng.random((n, channels))
    return a - a.mean(0) if signed else a


def residual(extractor, a, k=5, **kwargs):
    atoms = extract(extractor, a, k, 0, **kwargs).values
    return error(a, encode(ENCODERS[extractor], a, atoms), atoms)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("extractor", "signed"), [("nmf", False), ("semi-nmf", False), ("semi-nmf", True)])
def test_a_planted_dictionary_is_fitted(extractor, signed, seed):
    codes, atoms = planted(signed, seed=seed)
    got = extract(extractor, codes @ atoms, 5, seed)
    assert got.converged
    assert error(codes @ atoms, encode("nnls", codes @ atoms, got.values), got.values) < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_dictionary_is_recovered(seed):
    codes, atoms = planted(False, seed=seed)
    got = extract("nmf", codes @ atoms, 5, seed).values
    assert cosines(got, atoms).min() > 0.99
    np.testing.assert_allclose(encode("nnls", codes @ atoms, atoms), codes, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_semi_nmf_recovers_signed_atoms_where_they_are_unique(seed):
    """One concept a row: every other split of the rows into non-negative codes fits worse."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(4, 20))
    codes = np.eye(4)[rng.integers(4, size=200)] * rng.uniform(0.5, 2, (200, 1))
    got = semi_nmf(codes @ atoms, 4, seed)
    assert cosines(got.atoms, atoms).min() > 0.999


def test_nmf_and_pca_and_kmeans_are_no_worse_than_scikit_learn():
    a = rows()
    model = NMF(5, init="nndsvda", max_iter=1000, random_state=0).fit(a)
    assert residual("nmf", a) <= model.reconstruction_err_ / np.linalg.norm(a) * (1 + 1e-3)
    centred = a - a.mean(0)
    pca = PCA(5, svd_solver="full").fit(a)
    atoms = extract("pca", centred, 5, 0).values
    np.testing.assert_allclose(np.abs(atoms @ pca.components_.T), np.eye(5), atol=1e-6)
    left = 1 - pca.explained_variance_ratio_.sum()
    assert residual("pca", centred) == pytest.approx(left**0.5, rel=1e-9)
    model = KMeans(5, n_init=4, random_state=0).fit(a)
    assert residual("kmeans", a) <= model.inertia_**0.5 / np.linalg.norm(a) * (1 + 1e-9)


def ding_semi_nmf(a, k, sweeps, rng):
    """Ding, Li and Jordan 2010, equations 10 and 11, from random codes."""
    z = rng.random((len(a), k))
    for _ in range(sweeps):
        d = np.linalg.pinv(z) @ a
        p, q = a @ d.T, d @ d.T
        pos, neg = (lambda x: (np.abs(x) + x) / 2), (lambda x: (np.abs(x) - x) / 2)
        z = z * np.sqrt((pos(p) + z @ neg(q)) / (neg(p) + z @ pos(q) + 1e-12))
    return np.linalg.pinv(z) @ a


def ding_convex_nmf(a, k, sweeps, rng):
    """The same, equations 22 and 24."""
    z, w, gram = rng.random((len(a), k)), rng.random((k, len(a))), a @ a.T
    pos, neg = (np.abs(gram) + gram) / 2, (np.abs(gram) - gram) / 2
    for _ in range(sweeps):
        z = z * np.sqrt((pos @ w.T + z @ (w @ neg @ w.T)) / (neg @ w.T + z @ (w @ pos @ w.T) + 1e-12))
        w = w * np.sqrt((z.T @ pos + (z.T @ z @ w) @ neg) / (z.T @ neg + (z.T @ z @ w) @ pos + 1e-12))
    return w @ a


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("extractor", "published"), [("semi-nmf", ding_semi_nmf), ("convex-nmf", ding_convex_nmf)])
def test_semi_and_convex_nmf_are_no_worse_than_the_published_updates(extractor, published, signed):
    a = rows(signed=signed)
    atoms = published(a, 5, 500, np.random.default_rng(0))
    theirs = error(a, encode("nnls", a, atoms), atoms)
    assert residual(extractor, a) <= theirs * 1.001


@pytest.mark.parametrize("fit", [semi_nmf, convex_nmf])
def test_more_sweeps_never_raise_the_error(fit):
    a = rows(signed=True)
    errors = []
    for sweeps in (1, 3, 10, 30, 100):
        got = fit(a, 5, 0, max_iter=sweeps, tol=0)
        assert (got.codes >= 0).all()
        assert not got.converged
        assert got.iterations == sweeps
        errors.append(error(a, got.codes, got.atoms))
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(errors))
    assert errors[-1] < errors[0]


def test_atoms_of_convex_nmf_are_in_the_cone_of_the_rows():
    a = rows(n=60, signed=True)
    for atom in extract("convex-nmf", a, 4, 0).values:
        assert scipy_nnls(a.T, atom)[1] < 1e-6


def test_pca_is_orthonormal_and_turned_to_where_the_codes_are():
    for k in (5, 24):
        a = rows()
        atoms = extract("pca", a, k, 0).values
        np.testing.assert_allclose(atoms @ atoms.T, np.eye(k), atol=1e-9)
        assert (encode("linear", a, atoms).sum(0) >= -1e-6).all()
    assert residual("pca", rows(), 24) < 1e-9


def test_kmeans_codes_are_one_hot_and_the_atoms_are_the_means_of_their_rows():
    a = rows()
    atoms = extract("kmeans", a, 5, 0).values
    codes = encode("onehot", a, atoms)
    assert set(np.unique(codes)) == {0, 1}
    assert (codes.sum(1) == 1).all()
    np.testing.assert_allclose((codes.T @ a) / codes.sum(0)[:, None], atoms, atol=1e-8)


def test_the_singular_vectors_bound_every_extractor():
    a = rows()
    best = residual("pca", a)
    for extractor in EXTRACTORS:
        assert residual(extractor, a) >= best - 1e-9
    assert residual("semi-nmf", a) <= residual("nmf", a) + 1e-3
    assert residual("convex-nmf", a) < residual("kmeans", a)


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_a_seed_repeats_bit_for_bit_and_no_global_state_is_used(extractor):
    a = rows()
    first = extract(extractor, a, 5, 3).values
    np.random.seed(77)
    state = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(first, extract(extractor, a, 5, 3).values)
    np.testing.assert_array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_scaling_the_rows_scales_nothing_but_the_codes(extractor):
    a = rows()
    one, many = (extract(extractor, scale * a, 4, 0).values for scale in (1, 1024))
    factor = 1024 if extractor == "kmeans" else 1
    np.testing.assert_allclose(many, factor * one, rtol=1e-6, atol=1e-9)


def test_agreement():
    rng = np.random.default_rng(0)
    atoms = rng.random((6, 20))
    assert agreement(atoms, atoms[rng.permutation(6)] * rng.uniform(1, 5, (6, 1))) == pytest.approx(1)
    assert agreement(np.eye(6)[:3], np.eye(6)[3:]) == 0


def test_too_many_concepts_and_zero_activations_are_refused():
    with pytest.raises(UsageError, match=r"nmf cannot find 10 concepts in 9 positions .*at most 9 or give more"):
        extract("nmf", np.ones((9, 40)), 10, 0)
    with pytest.raises(UsageError, match="at most 4\\)"):
        extract("pca", np.ones((90, 4)), 5, 0)
    for extractor in EXTRACTORS:
        with pytest.raises(UsageError, match="all activations are zero"):
            extract(extractor, np.zeros((9, 40)), 2, 0)
    assert extract("kmeans", rows(channels=3), 5, 0).values.shape == (5, 3)
