"""Total Sobol indices against closed forms and a peer."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from xcore_craft.sobol import designs, jansen, total_indices

from xcore.contract import UsageError


def test_linear_function():
    w = np.array([1.0, -2.0, 3.0, 0.5])
    got = total_indices(lambda m: m @ w + 7, 4, 4096)
    np.testing.assert_allclose(got, w**2 / (w**2).sum(), atol=2e-3)


def test_product_of_two_masks():
    got = total_indices(lambda m: m[:, 0] * m[:, 1], 2, 8192)
    np.testing.assert_allclose(got, [4 / 7, 4 / 7], atol=3e-3)


def test_ishigami():
    def ishigami(m):
        x = np.pi * (2 * m - 1)
        return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])

    np.testing.assert_allclose(total_indices(ishigami, 3, 8192), [0.5576, 0.4424, 0.2437], atol=2e-3)


def test_absent_input_is_exactly_zero():
    assert total_indices(lambda m: np.exp(m[:, 0]) * m[:, 2], 4, 32)[[1, 3]].tolist() == [0.0, 0.0]


def test_sum_is_one_for_an_additive_function_and_more_for_an_interaction():
    additive = [total_indices(lambda m: m.sum(1), 10, 256, seed).sum() for seed in range(20)]
    assert np.mean(additive) == pytest.approx(1.0, abs=0.03)
    assert total_indices(lambda m: m.prod(1), 3, 4096).sum() > 1.1


def test_unscrambled_halton_is_biased_by_the_order_of_inputs():
    """Why it is no default: twenty inputs that matter equally get indices that fall with the input's number."""
    halton = total_indices(lambda m: m.sum(1), 20, 32, sampler="halton")
    scrambled = np.mean([total_indices(lambda m: m.sum(1), 20, 32, seed) for seed in range(60)], axis=0)
    assert spearmanr(np.arange(20), halton).statistic < -0.8
    assert halton.sum() < 0.3
    assert scrambled.sum() == pytest.approx(1, abs=0.1)
    assert designs(20, 32, sampler="halton")[0][0].tolist() == [0.0] * 20


def test_unequal_weights_are_ranked_better_than_by_unscrambled_halton():
    w = np.linspace(0.7, 1.3, 20)
    ours = np.mean([spearmanr(total_indices(lambda m: m @ w, 20, 32, s), w).statistic for s in range(20)])
    theirs = spearmanr(total_indices(lambda m: m @ w, 20, 32, sampler="halton"), w).statistic
    assert ours > 0.9
    assert theirs < 0.5


def test_affine_change_of_the_output_changes_nothing():
    def f(m):
        return m[:, 0] * m[:, 1] + np.sin(3 * m[:, 2])

    np.testing.assert_allclose(
        total_indices(f, 3, 64, 5), total_indices(lambda m: -40 * f(m) + 1000, 3, 64, 5), rtol=1e-9
    )


def test_constant_output_is_zero_not_nan():
    indices, variance = jansen(np.full(32, 3.3), np.full((5, 32), 3.3))
    assert indices.tolist() == [0.0] * 5
    assert variance == 0.0
    noise = 1e-7 * np.random.default_rng(0).normal(size=(6, 32))
    assert jansen(3.3 + noise[0], 3.3 + noise[1:])[0].tolist() == [0.0] * 5


def test_only_the_needed_rows_are_evaluated():
    rows = []

    def f(m):
        rows.append(len(m))
        return m.sum(1)

    total_indices(f, 7, 32)
    assert sum(rows) == 32 * (7 + 1)


def test_designs_differ_in_one_column_and_repeat_with_the_seed():
    a, c = designs(5, 16, [3, 4])
    for i in range(5):
        others = [j for j in range(5) if j != i]
        np.testing.assert_array_equal(c[i][:, others], a[:, others])
        assert (c[i][:, i] != a[:, i]).all()
    np.testing.assert_array_equal(a, designs(5, 16, [3, 4])[0])
    assert (a != designs(5, 16, [3, 5])[0]).any()


def test_number_of_points_must_be_a_power_of_two():
    with pytest.raises(UsageError, match=r"power of two, got 30 \(use 16 or 32\)"):
        designs(3, 30)


def test_agrees_with_salib_on_the_same_points():
    sobol = pytest.importorskip("SALib.analyze.sobol")
    a, c = designs(6, 256, 1)
    w = np.arange(1.0, 7.0)

    def f(m):
        return m @ w + 5 * m[:, 0] * m[:, 3]

    y_a, y_c = f(a), f(c.reshape(-1, 6)).reshape(6, 256)
    indices, variance = jansen(y_a, y_c)
    for i in range(6):
        # SALib divides by the population variance of both designs; with the same one given it has our variance.
        theirs = sobol.total_order(y_a, y_c[i], y_a)
        assert indices[i] * variance == pytest.approx(theirs * np.var(y_a), rel=1e-12)
