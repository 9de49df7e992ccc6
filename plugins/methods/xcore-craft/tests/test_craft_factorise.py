"""Factorisation and non-negative least squares against planted factors and scipy."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.optimize import nnls as scipy_nnls
from xcore_craft.factorise import factorise, nnls

from xcore.contract import UsageError


def planted(k=6, n=300, channels=40, seed=0):
    """Separable factors: each atom has a channel of its own, each concept a row of its own."""
    rng = np.random.default_rng(seed)
    atoms = rng.random((k, channels)) * (rng.random((k, channels)) < 0.4)
    atoms[:, :k] = np.eye(k)
    codes = rng.random((n, k)) * (rng.random((n, k)) < 0.4)
    codes[:k] = np.eye(k)
    return codes, atoms


@pytest.mark.parametrize("seed", range(3))
def test_planted_factors_are_recovered(seed):
    codes, atoms = planted(seed=seed)
    got = factorise(codes @ atoms, 6, seed)
    assert got.error < 1e-3
    assert got.converged
    assert (got.codes >= 0).all()
    assert (got.atoms >= 0).all()
    cosine = got.atoms @ (atoms / np.linalg.norm(atoms, axis=1, keepdims=True)).T
    rows, columns = linear_sum_assignment(-cosine)
    assert cosine[rows, columns].min() > 0.99
    for row, column in zip(rows, columns, strict=True):
        assert np.corrcoef(got.codes[:, row], codes[:, column])[0, 1] > 0.99


def test_scaling_the_activations_scales_the_codes():
    codes, atoms = planted()
    one, eight = factorise(codes @ atoms, 6, 0), factorise(8 * codes @ atoms, 6, 0)
    np.testing.assert_allclose(eight.codes, 8 * one.codes, rtol=1e-9)
    np.testing.assert_allclose(eight.atoms, one.atoms, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(one.atoms, axis=1), 1)


def test_same_seed_is_bit_identical_and_no_global_state_is_used():
    a = np.random.default_rng(0).random((80, 30))
    before = np.random.get_state()[1].copy()
    first, second = factorise(a, 5, 3), factorise(a, 5, 3)
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(first.atoms, second.atoms)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_too_many_concepts_negative_and_zero_activations_are_refused():
    with pytest.raises(UsageError, match=r"cannot find 10 concepts .* 9 crops .*at most 9 or give more images"):
        factorise(np.ones((9, 40)), 10, 0)
    with pytest.raises(UsageError, match="negative"):
        factorise(np.array([[1.0, -0.5], [1, 1]]), 1, 0)
    with pytest.raises(UsageError, match="all activations are zero"):
        factorise(np.zeros((9, 40)), 2, 0)


def test_stopping_early_is_reported():
    assert not factorise(np.random.default_rng(0).random((80, 30)), 5, 0, max_iter=2).converged


@pytest.mark.parametrize(("k", "channels", "n"), [(1, 8, 50), (5, 5, 300), (10, 64, 500), (30, 128, 300)])
def test_nnls_agrees_with_scipy(k, channels, n):
    rng = np.random.default_rng(k)
    atoms = rng.random((k, channels)) * (rng.random((k, channels)) < 0.6)
    a = rng.normal(size=(n, channels)) + rng.random((n, k)) @ atoms
    expected = np.array([scipy_nnls(atoms.T, row)[0] for row in a])
    np.testing.assert_allclose(nnls(a, atoms), expected, atol=1e-6)
    assert 0 < (expected > 0).mean() <= 1


def test_nnls_of_dependent_dead_and_badly_scaled_atoms_is_still_optimal():
    rng = np.random.default_rng(1)
    atoms = rng.random((6, 20))
    atoms[3], atoms[4] = 0, 1e-6 * atoms[4]
    atoms = np.concatenate([atoms, atoms[:2], atoms[:1] + atoms[1:2]])
    a = rng.random((200, 20))
    codes = nnls(a, atoms)
    assert (codes >= 0).all()
    assert (codes[:, 3] == 0).all()
    expected = [scipy_nnls(atoms.T, row)[1] for row in a]
    np.testing.assert_allclose(np.linalg.norm(a - codes @ atoms, axis=1), expected, rtol=1e-9)


def test_nnls_of_rows_in_the_cone_returns_their_codes():
    codes, atoms = planted()
    np.testing.assert_allclose(nnls(codes @ atoms, atoms), codes, atol=1e-10)
    assert (nnls(-atoms, atoms) == 0).all()
    assert nnls(np.zeros((0, 40)), atoms).shape == (0, 6)
