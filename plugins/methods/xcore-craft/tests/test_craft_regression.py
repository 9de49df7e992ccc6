"""Total Sobol indices by regression, against closed forms and against the estimator that it stands for."""

import numpy as np
import pytest
from xcore_craft.regression import Corners, indices_by_regression, points_needed
from xcore_craft.sobol import total_indices


def estimate(f, k, n=32, seed=0):
    """Indices, variance, and how many rows each call asked for."""
    asked = []

    def counted(masks):
        asked.append(len(masks))
        return f(masks)

    y = f(np.concatenate([np.ones((1, k)), np.zeros((1, k)), 1 - np.eye(k)]))
    return *indices_by_regression(counted, Corners(float(y[0]), float(y[1]), y[2:]), n, seed), asked


def network(seed, k):
    """A hidden layer whose units switch inside of the cube."""
    rng = np.random.default_rng(seed)
    into, out = rng.normal(size=(k, 32)), rng.normal(size=32)
    bias = rng.normal(size=32) / 2 - into.sum(0) / 2
    return lambda m: np.maximum(m @ into + bias, 0) @ out


def test_an_affine_function_is_exact_after_eight_points():
    w = np.array([1.0, -2.0, 3.0, 0.5])
    indices, variance, asked = estimate(lambda m: (m @ w + 7).astype(np.float32), 4)
    np.testing.assert_allclose(indices, w**2 / (w**2).sum(), atol=1e-6)
    assert variance == pytest.approx((w**2).sum() / 12, rel=1e-6)
    assert asked == [8]


def test_a_function_that_is_affine_at_the_corners_alone_is_not_taken_for_affine():
    def f(m):
        return m.sum(1) + 4 * m[:, 0] * (1 - m[:, 0])  # the second part has variance 16 / 180

    indices, variance, asked = estimate(f, 4)
    total = 4 / 12 + 16 / 180
    np.testing.assert_allclose(indices, np.array([1 / 12 + 16 / 180, *[1 / 12] * 3]) / total, atol=2e-3)
    assert variance == pytest.approx(total, rel=5e-3)
    assert asked == [8, 24]


def test_a_product_is_exact_and_its_interaction_counts_for_both():
    indices, variance, _ = estimate(lambda m: m[:, 0] * m[:, 1], 2)
    np.testing.assert_allclose(indices, [4 / 7, 4 / 7], atol=1e-4)
    assert variance == pytest.approx(7 / 144, rel=1e-3)


def test_what_polynomials_miss_is_left_to_jansen():
    def ishigami(m):
        x = np.pi * (2 * m - 1)
        return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])

    indices, _, asked = estimate(ishigami, 3, 2048, 5)
    np.testing.assert_allclose(indices, total_indices(ishigami, 3, 2048, 5), rtol=1e-12)
    np.testing.assert_allclose(indices, [0.5576, 0.4424, 0.2437], atol=5e-3)
    assert sum(asked) == 2048 * 4
    few, _, asked = estimate(ishigami, 3, 4, 5)  # more points for the regression than the design has
    np.testing.assert_allclose(few, total_indices(ishigami, 3, 4, 5), rtol=1e-12)
    assert sum(asked) == 4 * 4


@pytest.mark.parametrize("k", [5, 10, 20])
def test_a_sixth_of_the_evaluations_leaves_no_larger_error(k):
    ours, jansen = [], []
    for seed in range(6):
        f = network(seed, k)
        truth = total_indices(f, k, 4096, 99)
        indices, _, asked = estimate(f, k, 32, seed)
        assert sum(asked) == points_needed(k, 32) < 32 * (k + 1) / 3
        ours.append(np.abs(indices - truth).mean())
        jansen.append(np.abs(total_indices(f, k, 32, seed) - truth).mean())
    assert np.mean(ours) < np.mean(jansen)


def test_affine_change_of_the_output_changes_nothing():
    f = network(0, 6)
    np.testing.assert_allclose(estimate(f, 6)[0], estimate(lambda m: -40 * f(m) + 1000, 6)[0], rtol=1e-6)


def test_constant_output_is_zero_not_nan():
    indices, variance, _ = estimate(lambda m: np.full(len(m), 3.3), 5)
    assert indices.tolist() == [0.0] * 5
    assert variance == 0.0
    noise = np.random.default_rng(0)
    assert estimate(lambda m: 3.3 + 1e-7 * noise.normal(size=len(m)), 5)[0].tolist() == [0.0] * 5


def test_one_input_has_all_the_variance():
    assert estimate(lambda m: np.exp(m[:, 0]), 1)[0] == pytest.approx([1.0])


def test_the_same_seed_gives_the_same_bits_and_another_one_other_points():
    f = network(1, 8)
    np.testing.assert_array_equal(estimate(f, 8, seed=[3, 4])[0], estimate(f, 8, seed=[3, 4])[0])
    assert (estimate(f, 8, seed=[3, 4])[0] != estimate(f, 8, seed=[3, 5])[0]).any()
