"""The sum of attributes and features, on logits that are such a sum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from xcore_evidence.elude.additive import additive

from xcore.contract import NotApplicable

N, K, D, CLASSES = 900, 12, 20, 4


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(directions: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Attributes, features and their logits; the weights of four attributes, and the features' directions (d, r)."""
    read, features = normal(seed, N, K), normal(seed + 1, N, D)
    weights = torch.zeros(K, CLASSES, dtype=torch.float64)
    weights[range(CLASSES), range(CLASSES)] = 4.0
    u = torch.linalg.qr(normal(seed + 2, D, max(directions, 1)))[0][:, :directions]
    v = torch.linalg.qr(normal(seed + 3, CLASSES, CLASSES))[0][:, :directions]
    return read, features, read @ weights + 5 * features @ u @ (v - v.mean(0)).T, weights, u


@pytest.mark.parametrize("fit", ["predictions", "logits"])
def test_attributes_that_suffice_need_no_directions(fit: str) -> None:
    read, features, logits, weights, _ = planted(0)
    found = additive(read, logits, features, fit=fit)  # type: ignore[arg-type]
    assert found.rank == 0
    assert found.shares[0] > 0.9 > 0.5 > found.commonest
    assert found.converged
    unused = found.weights[weights.abs().sum(1) == 0]
    assert float(unused.abs().max()) < 0.15 * float(found.weights.abs().max())


@pytest.mark.parametrize("fit", ["predictions", "logits"])
def test_a_planted_sum_is_recovered(fit: str) -> None:
    read, features, logits, weights, u = planted(2)
    found = additive(read, logits, features, fit=fit)  # type: ignore[arg-type]
    assert found.rank == 2
    assert found.shares[0] < found.shares[1] < found.shares[2]
    assert found.shares[2] > 0.85
    # the attributes of each class are those that were planted
    assert found.weights.argmax(0).tolist() == weights.argmax(0).tolist()
    # both span the same directions: the cosines of the principal angles are near 1
    cosines = torch.linalg.svdvals(torch.linalg.qr(found.u)[0].T @ u)
    assert float(cosines.min()) > 0.95


def test_without_features_attributes_stand_alone() -> None:
    read, _, logits, _, _ = planted(2)
    found = additive(read, logits, None)
    assert found.rank == 0
    assert len(found.shares) == 1


def test_the_rank_and_the_penalty_can_be_given() -> None:
    read, features, logits, _, _ = planted(0)
    found = additive(read, logits, features, rank=3, penalty=1.0)
    assert found.rank == 3
    assert float(found.weights.abs().max()) < 1e-3  # the strongest penalty leaves no attribute


def test_two_classes_and_a_class_that_is_never_predicted() -> None:
    read = normal(5, N, K)
    logits = torch.stack([2 * read[:, 0], -2 * read[:, 0], torch.full((N,), -50.0, dtype=torch.float64)], 1)
    found = additive(read, logits, None)
    assert found.shares[0] > 0.9
    assert int(found.weights[:, 0].argmax()) == 0
    told = read @ found.weights
    assert float(((told[:, 0] > told[:, 1]) == (read[:, 0] > 0)).double().mean()) > 0.9


def test_predictions_of_one_class_say_nothing() -> None:
    read = normal(6, N, K)
    with pytest.raises(NotApplicable, match="predicts one class only"):
        additive(read, torch.stack([torch.ones(N), torch.zeros(N)], 1), None)
