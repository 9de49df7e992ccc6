"""`benchmarks/drawn_versus_real.py`: what drawings and real pictures are compared by."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from xcore.contract import Concept, Explanation
from xcore.run.plan import load_suite


@pytest.fixture
def script(benchmark_script: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_script("drawn_versus_real")


def test_cka_is_what_it_is_by_hand(script: ModuleType) -> None:
    """Of two orthogonal contrasts of four rows.

    Without their diagonals the Gram matrices have tr(KL) = -4 and tr(KK) = 12, rows that sum to -1, and -4 in all; so
    HSIC(K, L) = (-4 + 16 / 6 - 4) / 4 = -4 / 3 and HSIC(K, K) = (12 + 16 / 6 - 4) / 4 = 8 / 3.
    """
    x, y = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    assert script.hsic(script.gram(x), script.gram(y)) == pytest.approx(-4 / 3)
    assert script.hsic(script.gram(x), script.gram(x)) == pytest.approx(8 / 3)
    assert script.cka(x, y) == pytest.approx(-0.5)


def test_cka_knows_no_rotation_no_scale_and_no_shift_of_all_rows(script: ModuleType) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(12, 5, generator=rng)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=rng)).Q
    assert script.cka(x, 3 * x @ rotation + 100) == pytest.approx(1.0, abs=1e-4)


def test_cka_of_noise_is_near_0_though_columns_are_many(script: ModuleType) -> None:
    rng = torch.Generator().manual_seed(1)
    found = [script.cka(torch.randn(12, 2000, generator=rng), torch.randn(12, 2000, generator=rng)) for _ in range(20)]
    x, y = (torch.randn(12, 2000, generator=rng) for _ in range(2))
    biased = (script.gram(x) * script.gram(y)).sum() / (script.gram(x).norm() * script.gram(y).norm())
    assert float(biased) > 0.8
    assert sum(found) / len(found) == pytest.approx(0.0, abs=0.15)


def test_energy_distance_is_what_it_is_by_hand(script: ModuleType) -> None:
    here, there, both = torch.zeros(2, 1), torch.ones(3, 1), torch.tensor([[0.0], [2.0]])
    assert script.energy(here, there) == pytest.approx(1.0)  # two points
    assert script.energy(both, both) == pytest.approx((2 * 1 - 2 - 2) / 2)  # the distances between them are 0, 2, 2, 0


def test_clouds_of_one_distribution_have_no_distance_on_average(script: ModuleType) -> None:
    rng = torch.Generator().manual_seed(2)
    same = [script.energy(torch.randn(6, 40, generator=rng), torch.randn(6, 40, generator=rng)) for _ in range(200)]
    assert sum(same) / len(same) == pytest.approx(0.0, abs=0.003)
    shifted = script.energy(torch.randn(6, 40, generator=rng), torch.randn(6, 40, generator=rng) + 1)
    assert shifted > 0.1


def explained(scores: dict[str, float], ts: float = 0.5) -> Explanation:
    concepts = [
        Concept(
            name,
            effect,
            words=(name,),
            evidence={"effect": effect, "ts@layer2": ts, "ts@layer3": 0.5},
            directions={"layer2": torch.tensor([2.0 + i, 0.0]), "layer3": torch.tensor([0.0, 1.0])},
        )
        for i, (name, effect) in enumerate(scores.items())
    ]
    return Explanation("tcav", "zebra", "importance", tuple(concepts))


def test_directions_are_in_the_order_of_the_phrases_whatever_their_ranks(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = explained({"b": 1.0, "a": 0.5})
    turned = Concept("c", 0.1, directions={"layer2": torch.tensor([0.0, 3.0])})
    three = Explanation("tcav", "zebra", "importance", (turned, *made.concepts))
    monkeypatch.setattr(script, "PHRASES", ["a", "b", "c"])
    assert script.directions(three, "layer2").tolist() == [[1, 0], [1, 0], [0, 1]]


def test_scores_differ_by_the_mean_over_phrases_and_layers(script: ModuleType) -> None:
    one, other = explained({"a": 1.0, "b": 0.0}, ts=0.9), explained({"b": 1.0, "a": 0.0}, ts=0.5)
    assert script.score_difference(one, one) == 0
    assert script.score_difference(one, other) == pytest.approx(0.4 / 2)  # only one of two layers differs


def test_agreement_is_over_different_draws_only(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert script.draws_of("real", "real", (0, 1, 2)) == [(0, 1), (0, 2), (1, 2)]
    assert set(script.draws_of("drawn", "real", (0, 1))) == {(0, 1), (1, 0)}
    monkeypatch.setattr(script, "PHRASES", ["a", "b", "c"])
    monkeypatch.setattr(script, "draws_of", lambda one, other: [(0, 1), (1, 0)])
    up, down = {"a": 1.0, "b": 2.0, "c": 3.0}, {"c": 1.0, "b": 2.0, "a": 3.0}
    values = {
        ("cow", "real", 0): up, ("cow", "real", 1): up, ("cow", "drawn", 0): down, ("cow", "drawn", 1): up,
    }  # fmt: skip
    assert script.agreement(values, "cow", "real", "real") == pytest.approx(1.0)
    assert script.agreement(values, "cow", "drawn", "real") == pytest.approx((-1 + 1) / 2)


def test_presence_falls_by_what_a_direction_loses(script: ModuleType) -> None:
    cavs: Tensor = torch.eye(2)
    tested = torch.tensor([[0.0, 0.0], [4.0, 1.0]])  # deviations: 2 sqrt 2 and sqrt(1/2)
    before, after = torch.tensor([[5.0, 1.0], [7.0, 1.0]]), torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    assert script.fall(cavs, before, after, tested).tolist() == pytest.approx([4 / 8**0.5, 0.0])


def test_the_arms_have_the_same_pictures_to_take_random_sets_from() -> None:
    suite = load_suite("drawn-versus-real")
    assert {arm.set["n"] + arm.set["shown"] for arm in suite.arms} == {suite.budget.samples}
