"""Bets where nothing depends on anything, and where something does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from xcore_evidence.ridge import standardised
from xcore_evidence.skit.betting import (
    conditional_payoffs,
    discoveries,
    log_wealth,
    marginal_payoffs,
    rejection_times,
    scaled,
)
from xcore_evidence.skit.samplers import Sampler

ALPHA, WARMUP = 0.05, 20


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def apart(values: Tensor) -> Tensor:
    return (values[..., :, None] - values[..., None, :]) ** 2


@pytest.fixture(scope="module")
def nothing() -> tuple[Tensor, Tensor]:
    """Payoffs of a thousand runs each of the marginal and of the conditional test, where nothing depends."""
    runs, n = 1000, 80
    output, presence, others = normal(0, runs, n), normal(1, runs, n), normal(2, runs, n)
    marginal = marginal_payoffs(output, presence, warmup=WARMUP)
    # the output goes with the others, and so does the presence: given them, nothing is left
    presence, counterfeit = presence + others, normal(3, runs, n) + others
    return marginal, conditional_payoffs(output + others, presence, counterfeit, apart(others), warmup=WARMUP)


@pytest.mark.parametrize("step", ["newton", "mixture"])
def test_where_nothing_depends_a_thousand_runs_reject_as_rarely_as_alpha(
    step: str, nothing: tuple[Tensor, Tensor]
) -> None:
    for payoffs in nothing:
        wealth = log_wealth(payoffs, step)  # type: ignore[arg-type]
        # at any time up to the end, which is where the largest wealth of each run is looked for
        assert float((wealth.amax(-1) >= -torch.tensor(ALPHA).log()).double().mean()) <= ALPHA
        # a mean wealth of 1 within five standard errors, and bets that are made
        final = wealth[:, -1].exp()
        assert abs(float(final.mean()) - 1) < 5 * float(final.std()) / len(final) ** 0.5
        assert float(final.std()) > 0.1


def world(seed: int, n: int = 300) -> tuple[Tensor, Tensor]:
    """Presence of a used concept, of its correlate and of a free one; and the output."""
    used = normal(seed, n)
    read = torch.stack([used, 0.8 * used + 0.6 * normal(seed + 1, n), normal(seed + 2, n)], 1)
    return standardised(read), used + 0.3 * normal(seed + 3, n)


def times_of(test: str, runs: int = 5) -> tuple[Tensor, Tensor]:
    """(3, runs) when each concept is rejected, and whether."""
    payoffs = []
    for seed in range(0, 10 * runs, 10):
        read, output = world(seed)
        sampler, generator = Sampler(read, "regression", 20), torch.Generator().manual_seed(seed)
        for i in range(3):
            if test == "marginal":
                payoffs.append(marginal_payoffs(output, read[:, i], warmup=WARMUP))
            else:
                drawn = sampler.draw(i, generator)
                payoffs.append(conditional_payoffs(output, read[:, i], drawn, sampler.others(i), warmup=WARMUP))
    times, rejected = rejection_times(log_wealth(torch.stack(payoffs)), ALPHA)
    return times.reshape(runs, 3).T, rejected.reshape(runs, 3).T


def test_a_correlate_is_rejected_by_the_marginal_test_and_not_by_the_conditional_one() -> None:
    marginal_times, marginal = times_of("marginal")
    conditional_times, conditional = times_of("conditional")
    assert marginal[0].all()
    assert marginal[1].all()
    assert conditional[0].all()
    assert int(conditional[1].sum()) <= 1
    for rejected in (marginal[2], conditional[2]):
        assert int(rejected.sum()) <= 1
    # what is used is rejected first
    assert float(marginal_times[0].double().mean()) < float(marginal_times[1].double().mean())
    assert float(conditional_times[0].double().mean()) < 0.5 * float(conditional_times[1].double().mean())


@pytest.mark.parametrize("kind", ["regression", "neighbours", "kde"])
def test_counterfeits_go_with_the_others_as_the_presence_does(kind: str) -> None:
    others = normal(1, 400, 1)
    read = standardised(torch.cat([0.8 * others + 0.6 * normal(2, 400, 1), others], 1))
    drawn = Sampler(read, kind, 20).draw(0, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    together = torch.corrcoef(torch.stack([drawn, read[:, 1], read[:, 0]]))
    assert float(together[0, 1]) == pytest.approx(0.8, abs=0.08)
    # beside the others, a counterfeit has nothing of the presence that it stands for: .8 x .8
    assert float(together[0, 2]) == pytest.approx(0.64, abs=0.1)
    assert float(drawn.std()) == pytest.approx(1, abs=0.1)


def test_the_unit_of_a_payoff_is_known_before_the_bet() -> None:
    gained = normal(4, 50)
    changed = gained.clone()
    changed[30:] *= 100
    assert torch.equal(scaled(gained, "past")[:30], scaled(changed, "past")[:30])
    assert torch.allclose(scaled(changed, "past")[30], 100 * scaled(gained, "past")[30])


def test_discoveries_are_those_of_the_rule_by_hand() -> None:
    # 4 / (.1 r) is 40, 20, 13.3, 10: three of these reach it
    assert discoveries([14.0, 41.0, 9.0, 20.0], 0.1) == [True, True, False, True]
    assert discoveries([39.0, 1.0, 1.0, 1.0], 0.1) == [False] * 4
