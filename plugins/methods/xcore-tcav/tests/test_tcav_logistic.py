"""The batched fit against scikit-learn and against its own optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xcore_tcav.logistic import fit
from xcore_tcav.negatives import NegativeSets

from xcore.contract import XcoreError


def data(n: int, d: int, seed: int, shift: float = 1.0) -> torch.Tensor:
    x = torch.randn(2 * n, d, generator=torch.Generator().manual_seed(seed))
    x[:n, 0] += shift
    return x


@pytest.mark.parametrize(("n", "d", "scale", "c"), [(10, 3, 1, 1), (10, 60, 1, 1), (10, 60, 1e-3, 1), (7, 60, 50, 0.1)])
def test_optimum_of_sklearn(n: int, d: int, scale: float, c: float) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = data(n, d, 0).double() * scale, torch.arange(2 * n) < n
    ours = fit((x @ x.T)[None], y, c=c)
    w = (x.T @ ours.alpha[0]).numpy()
    theirs = linear.LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(w, theirs.coef_[0], rtol=1e-5, atol=1e-7 * np.abs(w).max())
    np.testing.assert_allclose(float(ours.intercept), theirs.intercept_[0], rtol=1e-4, atol=1e-7)


def test_direction_of_sklearn_where_d_is_large() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x = torch.relu(data(10, 163_072, 1) + 0.5)
    shared = NegativeSets(x[None, 10:], torch.ones(2, x.shape[1]), 1.0)
    v = shared.cavs(x[:10], shared.fitted([x[:10]]).fit.alpha)[0].double().numpy()
    w = linear.LogisticRegression(max_iter=1000).fit(x.numpy(), np.arange(20) < 10).coef_[0]
    assert v @ w / np.linalg.norm(v) / np.linalg.norm(w) > 0.9999


def test_what_is_kept_grows_with_the_negative_sets_and_not_with_their_square() -> None:
    def kept(r: int) -> int:
        shared = NegativeSets(torch.ones(r, 10, 4), torch.ones(2, 4), 1.0)
        return sum(value.nbytes for value in vars(shared).values() if isinstance(value, torch.Tensor))

    assert kept(200) < 2.1 * kept(100)


def test_scores_of_negative_sets_against_one_another_are_those_of_a_set_against_another() -> None:
    sets = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(5))
    gradients = torch.randn(7, 8, generator=torch.Generator().manual_seed(6))
    pairs = NegativeSets(sets, gradients, 1.0).pair_scores
    for score, (left, right) in zip(pairs, ((0, 1), (0, 2), (1, 2)), strict=True):
        alone = NegativeSets(sets[right][None], gradients, 1.0)
        sensitivity = alone.sensitivity(alone.fitted([sets[left]]))[0, 0]
        assert float(score) == pytest.approx(float((sensitivity > 0).double().mean()))


def test_a_feature_that_all_samples_share_counts_for_no_side() -> None:
    sets = torch.randn(6, 6, 8, generator=torch.Generator().manual_seed(7))
    sets[..., 7] = 0.1  # whose mean is not quite .1
    shared = NegativeSets(sets[1:], torch.eye(8)[[7, 0]], 1.0)
    s = shared.sensitivity(shared.fitted([sets[0]]))[0]
    assert (s[:, 0] == 0).all()
    assert (s[:, 1] != 0).all()
    alone = NegativeSets(sets[1:], torch.eye(8)[[7]], 1.0)
    assert (alone.pair_scores == 0).all()


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("d", [1, 3, 100])
def test_optimality_at_any_scale(scale: float, d: int) -> None:
    x = torch.randn(50, 20, d, generator=torch.Generator().manual_seed(2)).double()
    gram, y = x @ x.transpose(1, 2) * scale, torch.arange(20) < 10
    found = fit(gram, y)
    margin = (gram @ found.alpha[:, :, None])[:, :, 0] + found.intercept[:, None]
    residual = torch.where(y, torch.sigmoid(-margin), -torch.sigmoid(margin))
    gap = (found.alpha - residual).abs().amax(1) / residual.abs().amax(1)
    assert float(gap.max()) < 1e-5
    assert float(found.alpha.sum(1).abs().max()) < 1e-9


def test_a_fit_does_not_depend_on_the_others_of_its_batch() -> None:
    sets, y = [data(8, 5, seed).double() * scale for seed, scale in ((3, 1), (4, 30), (5, 1e-3))], torch.arange(16) < 8
    together = fit(torch.stack([x @ x.T for x in sets]), y)
    for i, x in enumerate(sets):
        torch.testing.assert_close(together.alpha[i], fit((x @ x.T)[None], y).alpha[0], rtol=1e-12, atol=1e-14)


def test_gram_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(XcoreError, match="not finite"):
        fit(torch.full((1, 4, 4), float("nan"), dtype=torch.float64), torch.arange(4) < 2)
    x = data(4, 3, 0).double() * 100
    with pytest.raises(XcoreError, match="1 of 1 CAV fits did not converge in 1 steps"):
        fit((x @ x.T)[None], torch.arange(8) < 4, iterations=1)
