"""Fits of awkward samples, from any start, and the sides of held-out samples against fits that leave them out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_tcav.held_out import sides
from xcore_tcav.logistic import Fit, descend, fit
from xcore_tcav.negatives import NegativeSets

N, D = 10, 30
POSITIVE = torch.arange(2 * N) < N


def drawn(kind: str, seed: int) -> Tensor:
    """(2n, d) samples, of which the first n are positives; float64."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * N, D, generator=rng, dtype=torch.float64)
    x[:N, 0] += 1
    if kind == "separable":
        x[:N, 0] += 20
    elif kind == "collinear":  # all samples on one line
        x = x[:, :1] * torch.linspace(-1, 2, D, dtype=torch.float64)
    elif kind == "constant feature":
        x[:, 1] = 1e3
    elif kind == "twice":  # each sample twice, once on each side
        x[N:] = x[:N]
    elif kind == "one far away":
        x[3] *= 1e3
    return x * {"tiny": 1e-6, "huge": 1e6}.get(kind, 1.0)


KINDS = ["plain", "separable", "collinear", "constant feature", "twice", "one far away", "tiny", "huge"]


def centred(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    return x @ x.T


def violation(gram: Tensor, found: Fit) -> float:
    """How far coefficients are from the residuals, which they equal at the optimum, as a share of the largest one."""
    margins = (gram @ found.alpha[:, :, None])[:, :, 0] + found.intercept[:, None]
    y = 2 * POSITIVE.double() - 1
    residual = y * torch.sigmoid(-y * margins)
    return float(((found.alpha - residual).abs().amax(1) / residual.abs().amax(1)).max())


@pytest.mark.parametrize("kind", KINDS)
def test_fits_converge_to_the_optimum(kind: str) -> None:
    gram = torch.stack([centred(drawn(kind, seed)) for seed in range(20)])
    found = fit(gram, POSITIVE)
    assert violation(gram, found) < 1e-5
    torch.testing.assert_close(found.margins, (gram @ found.alpha[:, :, None])[:, :, 0] + found.intercept[:, None])


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("tiny", "huge")])
def test_the_optimum_is_that_of_an_independent_solver(kind: str) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x = drawn(kind, 3)
    x = x - x.mean(0)
    w = (x.T @ fit((x @ x.T)[None], POSITIVE).alpha[0]).numpy()
    solver = linear.LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000)
    theirs = solver.fit(x.numpy(), POSITIVE.numpy()).coef_[0]
    np.testing.assert_allclose(w, theirs, rtol=1e-5, atol=1e-6 * np.abs(theirs).max() + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_does_not_depend_on_the_start(kind: str) -> None:
    gram = torch.stack([centred(drawn(kind, seed)) for seed in range(10)])
    cold, y = fit(gram, POSITIVE), (2 * POSITIVE.double() - 1).expand(10, -1)
    for factor, intercept in ((0.1, 5.0), (3.0, -2.0), (-1.0, 0.0), (1.0, 0.01)):
        alpha = factor * cold.alpha
        alpha = alpha - alpha.mean(1, keepdim=True)
        start = torch.full((10,), intercept, dtype=torch.float64)
        margins = (gram @ alpha[:, :, None])[:, :, 0] + intercept
        warm = descend(gram, y, 1.0, Fit(alpha, start, margins))
        assert violation(gram, warm) < 1e-5
        torch.testing.assert_close(warm.alpha, cold.alpha, rtol=1e-5, atol=1e-6 * float(cold.alpha.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folds", [2, 3, 10])
def test_sides_are_those_of_fits_without_the_fold(kind: str, folds: int) -> None:
    gram = torch.stack([centred(drawn(kind, seed)) for seed in range(30)])
    fold = (torch.arange(N) % folds).repeat(2)
    found = sides(gram, POSITIVE, fit(gram, POSITIVE), fold)
    for k in range(folds):
        kept, tested = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        alone = fit(gram[:, kept[:, None], kept], POSITIVE[kept])
        margins = (gram[:, tested[:, None], kept] @ alone.alpha[:, :, None])[:, :, 0] + alone.intercept[:, None]
        largest = alone.margins.abs().amax(1, keepdim=True)
        clear = margins.abs() > (1e-3 * largest if kind == "tiny" else 1e-6 * (1 + largest))
        assert kind == "twice" or clear.float().mean() > 0.98
        assert torch.equal(found[:, tested][clear], margins.sign()[clear])


def test_sides_do_not_depend_on_the_other_problems() -> None:
    gram = torch.stack([centred(drawn(kind, 1)) for kind in KINDS if kind != "twice"])
    fold, whole = (torch.arange(N) % 5).repeat(2), fit(gram, POSITIVE)
    together = sides(gram, POSITIVE, whole, fold)
    for i in range(len(gram)):
        alone = sides(gram[i : i + 1], POSITIVE, whole.of(torch.tensor([i])), fold)
        assert torch.equal(together[i : i + 1], alone)


def test_all_of_it_stays_where_the_activations_are() -> None:
    """A tensor that is made without saying where is on another device here, and cannot be used with the others."""
    x = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))

    def results() -> list[Tensor]:
        negatives = NegativeSets(x[:2], x[2, :5], 1.0)
        fitted = negatives.fitted([x[2], x[2] + 0.5])
        cavs = negatives.cavs(x[2], fitted.fit.alpha[:2])
        return [negatives.sensitivity(fitted), negatives.accuracy(fitted, 4), cavs, negatives.pair_scores]

    expected = results()
    with torch.device("meta"):
        assert torch.arange(3).is_meta
        found = results()
    for one, other in zip(found, expected, strict=True):
        assert one.device == x.device
        assert torch.equal(one, other)
