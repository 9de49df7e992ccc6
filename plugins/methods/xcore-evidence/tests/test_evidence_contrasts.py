"""Differences of two effects: their errors by another parametrisation, the level of their test, and equivalence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_evidence import ridge
from xcore_evidence.contrasts import contrast
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.observed import plain
from xcore_evidence.randomised import covariance, jointly

from xcore.contract import UsageError


def evidence_of(x: Tensor, y: Tensor, penalty: float = 1e-9, gap: float = 2.0) -> Evidence:
    found = ridge.fit(x, y, penalty=penalty)
    names, degrees = [f"p{i}" for i in range(x.shape[1])], ridge.degrees_left(*x.shape)
    made = estimates(
        names, found.coefficients.tolist(), found.errors.tolist(), degrees=degrees,
        ranges=[1.0] * len(names), gap=gap, alpha=0.05,
    )  # fmt: skip
    return Evidence(
        "observed", "", "", made, len(y), gap, covariance=plain(found.covariance), degrees=degrees
    )  # fmt: skip


def correlated(rng: np.random.Generator, n: int, k: int = 4) -> Tensor:
    return torch.from_numpy(rng.normal(size=(n, k)) + rng.normal(size=(n, 1)))


def test_the_error_of_a_difference_is_that_of_the_coefficient_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    z = ridge.standardised(correlated(rng, 120, 3))
    noise = torch.from_numpy(rng.normal(size=120)) * (1 + z[:, 0].abs())
    y = z @ torch.tensor([1.0, 0.4, 0.0]).double() + noise
    found = contrast(evidence_of(z, y, gap=2.0), "p0", "p1")
    turned = torch.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1], z[:, 2]], 1)
    other = ridge.fit(turned, y, penalty=1e-9)
    apart = float(turned[:, 1].std(correction=0))
    assert found.difference == pytest.approx(2 * float(other.coefficients[1]) / apart / 2.0, rel=1e-5)
    assert found.error == pytest.approx(2 * float(other.errors[1]) / apart / 2.0, rel=1e-5)
    assert found.lo < found.difference < found.hi
    back = contrast(evidence_of(z, y, gap=-2.0), "p1", "p0")
    assert back.difference == pytest.approx(-found.difference), "a gap below 0 does not turn the sign"


def test_the_test_of_a_difference_keeps_its_level_and_finds_differences() -> None:
    rng = np.random.default_rng(1)
    same, different = [], []
    for _ in range(200):
        x = correlated(rng, 100)
        noise = torch.from_numpy(rng.standard_t(6, size=100))
        same.append(contrast(evidence_of(x, x[:, 0] + x[:, 1] + noise, penalty=0.01), "p0", "p1").p)
        different.append(contrast(evidence_of(x, x[:, 0] + noise, penalty=0.01), "p0", "p1").p)
    assert 0.005 <= np.mean(np.array(same) <= 0.05) <= 0.10
    assert np.mean(np.array(different) <= 0.05) > 0.9


def test_equal_effects_are_shown_to_be_equal_within_their_bound_and_no_closer() -> None:
    rng = np.random.default_rng(2)
    x = correlated(rng, 400)
    found = contrast(evidence_of(x, x[:, 0] + x[:, 1] + torch.from_numpy(rng.normal(size=400))), "p0", "p1")
    assert found.p > 0.05
    assert found.p_within(found.bound, 395) == pytest.approx(0.05, abs=1e-6)
    assert found.p_within(1.2 * found.bound, 395) < 0.05 < found.p_within(0.8 * found.bound, 395)


def test_effects_of_words_have_a_covariance_too() -> None:
    rng = np.random.default_rng(3)
    columns = torch.from_numpy(rng.choice([-1.0, 0.0, 1.0], (300, 5)))
    y = columns[:, 0] + torch.from_numpy(rng.normal(size=300))
    for intercept in (False, True):
        _, errors = jointly(columns, intercept)(y[:, None])
        found = covariance(columns, y, intercept)
        assert torch.allclose(found.diagonal().sqrt(), errors[:, 0])
        assert torch.allclose(found, found.T)


def test_evidence_without_a_covariance_is_refused() -> None:
    made = estimates(["a", "b"], [1, 0], [0.1, 0.1], degrees=9, ranges=[1, 1], gap=1, alpha=0.05)
    with pytest.raises(UsageError, match="does not say how its effects go together"):
        contrast(Evidence("edited", "", "", made, 10, 1.0), "a", "b")


def test_an_effect_that_was_not_estimated_differs_from_none() -> None:
    x = torch.zeros(60, 2).double()
    x[:, 0] = torch.linspace(-1, 1, 60)
    found = contrast(evidence_of(x, x[:, 0] + torch.linspace(-1, 1, 60).square()), "p0", "p1")
    assert found.p == 1.0
    assert found.p_within(0.1, 50) == 1.0
