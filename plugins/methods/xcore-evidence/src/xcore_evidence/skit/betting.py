"""Tests of independence by betting: payoffs, wealth, rejection, and many tests at once.

Someone bets on each sample that the observed pair of presence and output is told from a counterfeit that would be as
likely if they were independent. A bet costs nothing on average where they are, so that wealth above 1 / alpha at any
time is as rare as alpha (Ville's inequality), however often one looks.

Sources: Teneggi and Sulam, arXiv:2405.19146 (the conditional test), which was recalled and not read, so that no figure
is meant to equal one of its own; Shekhar and Ramdas, arXiv:2112.09162, and Podkopaev et al., arXiv:2212.07383 (the
marginal test, and the online Newton step); Wang and Ramdas, Journal of the Royal Statistical Society B 2022 (e-BH).
Leading axes of all tensors are those of independent tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Literal

import torch
from torch import Tensor

Step = Literal["newton", "mixture"]
Scale = Literal["past", "none"]
NEWTON = 2 / (2 - log(3))
"""Rate of the online Newton step, for stakes of at most one half (Cutkosky and Orabona, COLT 2018)."""
MOST = 0.5
"""Greatest share of the wealth that is staked."""
BETTORS = 20
"""Stakes of the mixture."""
LARGEST = 700.0
"""Log of the largest wealth that is told as a number."""


def conditional_payoffs(
    output: Tensor,
    presence: Tensor,
    counterfeit: Tensor,
    others: Tensor,
    *,
    warmup: int,
    bandwidth: float = 1.0,
    scale: Scale = "past",
) -> Tensor:
    """Payoffs of bets against: the output is independent of the presence of a concept, given that of the others.

    kappa_t = tanh(w_t(y_t, z_t, o_t) - w_t(y_t, z~_t, o_t)), where the witness w_t is the difference of the mean
    embeddings of the samples before t with the presence z and with the counterfeit z~, by a product of Gaussian
    kernels.

    Parameters
    ----------
    output
        (..., n) y, in the order of the bets.
    presence, counterfeit
        (..., n) presence z of the concept, and z~ that was drawn given the others without a look at the output.
    others
        (..., n, n) squared distances of the samples in the presence of the other concepts.
    warmup
        Samples at the start on which nothing is bet. The bandwidths are medians of the distances among them.
    bandwidth
        Factor of the bandwidths.
    scale
        See `scaled`.

    Returns
    -------
    (..., n) in (-1, 1); 0 in the warm-up.
    """
    width = bandwidth * median_distance(presence[..., :warmup])
    same = _kernel(presence, presence, width) + _kernel(counterfeit, counterfeit, width)
    told = same - _kernel(presence, counterfeit, width) - _kernel(counterfeit, presence, width)
    near = _kernel(output, output, bandwidth * median_distance(output[..., :warmup]))
    first = others[..., :warmup, :warmup]
    told = told * near * torch.exp(-others / (2 * (bandwidth**2 * _median(first))[..., None, None]))
    n = output.shape[-1]
    before = torch.arange(n, dtype=output.dtype).clamp_min(1)
    gained = told.tril(-1).sum(-1) / before
    return torch.tanh(_after(scaled(gained, scale), warmup))


def marginal_payoffs(
    output: Tensor, presence: Tensor, *, warmup: int, bandwidth: float = 1.0, scale: Scale = "past"
) -> Tensor:
    """Payoffs of bets against: the output is independent of the presence of a concept.

    Samples are bet on in pairs. The counterfeit of a pair has its two outputs exchanged, which is exactly as likely
    where they are independent: kappa = tanh((w(z1, y1) + w(z2, y2) - w(z1, y2) - w(z2, y1)) / 2), with the witness w of
    the Hilbert-Schmidt independence criterion on the samples before the pair.

    Parameters
    ----------
    output, presence
        (..., n) in the order of the bets.
    warmup, bandwidth, scale
        See `conditional_payoffs`.

    Returns
    -------
    (..., n) in (-1, 1); 0 in the warm-up and at the first sample of each pair.
    """
    pairs = output.shape[-1] // 2
    before = torch.arange(2 * pairs) < 2 * torch.arange(pairs)[:, None]
    count = before.sum(-1).clamp_min(1)

    def apart(values: Tensor) -> Tensor:
        values = values[..., : 2 * pairs]
        near = _kernel(values, values, bandwidth * median_distance(values[..., :warmup]))
        return (near[..., 0::2, :] - near[..., 1::2, :]) * before

    a, b = apart(presence), apart(output)
    gained = ((a * b).sum(-1) / count - (a.sum(-1) / count) * (b.sum(-1) / count)) / 2
    payoffs = torch.zeros_like(output)
    payoffs[..., 1 : 2 * pairs : 2] = scaled(gained, scale)
    return torch.tanh(_after(payoffs, warmup))


def scaled(gained: Tensor, scale: Scale) -> Tensor:
    """What the witness tells of each sample (..., n), in units of its root mean square before ("past"), or as it is.

    The unit is known before the bet and the payoffs keep their odd symmetry, so that bets stay fair.
    """
    if scale == "none":
        return gained
    squares = gained.pow(2).cumsum(-1) - gained.pow(2)
    seen = (gained != 0).to(gained).cumsum(-1) - (gained != 0).to(gained)
    size = (squares / seen.clamp_min(1)).clamp_min(0).sqrt()
    return torch.where(size > 0, gained / size.clamp_min(1e-300), torch.zeros_like(gained))


def log_wealth(payoffs: Tensor, step: Step = "newton") -> Tensor:
    """(..., n) log of the wealth after each bet, from a wealth of 1: the sum of log(1 + v_t kappa_t).

    Parameters
    ----------
    payoffs
        (..., n) in [-1, 1].
    step
        newton = the stake v_t in [0, .5] follows the online Newton step on the log of the wealth, from 0; mixture = the
        mean wealth of bettors with fixed stakes.
    """
    if step == "mixture":
        stakes = torch.linspace(0, MOST, BETTORS, dtype=payoffs.dtype)
        each = torch.log1p(payoffs[..., None, :] * stakes[:, None]).cumsum(-1)
        return torch.logsumexp(each, -2) - log(BETTORS)
    stake, curvature = torch.zeros_like(payoffs[..., 0]), torch.ones_like(payoffs[..., 0])
    factors = []
    for t in range(payoffs.shape[-1]):
        factor = 1 + stake * payoffs[..., t]
        slope = payoffs[..., t] / factor
        curvature = curvature + slope**2
        stake = (stake + NEWTON * slope / curvature).clamp(0, MOST)
        factors.append(factor)
    return torch.stack(factors, -1).log().cumsum(-1)


def rejection_times(wealth: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """When the log wealth (..., n) first reaches log(1 / alpha): (...) number of samples, n if never; and whether."""
    won = wealth >= -log(alpha)
    n = wealth.shape[-1]
    first = torch.where(won.any(-1), won.to(torch.int8).argmax(-1) + 1, torch.full_like(wealth[..., 0], n).long())
    return first, won.any(-1)


def e_values(wealth: Tensor) -> list[float]:
    """The mean over orders (axis 1 of (k, orders)) of the wealth at the end, from its logs: an e-value of each test."""
    mean = torch.logsumexp(wealth, 1) - log(wealth.shape[1])
    return [exp(min(value, LARGEST)) for value in mean.tolist()]


def discoveries(e: Sequence[float], alpha: float) -> list[bool]:
    """Which of k hypotheses are rejected by e-BH, with a false discovery rate of at most alpha however they depend.

    The r largest e-values, where r is the largest number such that the r-th of them is at least k / (alpha r).

    Examples
    --------
    >>> discoveries([100.0, 1.0, 30.0], 0.1)
    [True, False, True]
    """
    ranked = sorted(e, reverse=True)
    counts = [r for r, value in enumerate(ranked, 1) if value * alpha * r >= len(e)]
    return [bool(counts) and value >= ranked[counts[-1] - 1] for value in e]


def median_distance(values: Tensor) -> Tensor:
    """(...) median distance of different values (..., n); 1 where all are the same."""
    squared: Tensor = _median((values[..., :, None] - values[..., None, :]) ** 2)
    return squared.sqrt()


def _median(squared: Tensor) -> Tensor:
    """(...) median of the squared distances (..., n, n) above 0; 1 where there are none."""
    flat = squared.flatten(-2)
    middle = torch.where(flat > 0, flat, torch.nan).nanmedian(-1).values
    return torch.where(middle.isnan(), torch.ones_like(middle), middle)


def _kernel(a: Tensor, b: Tensor, width: Tensor) -> Tensor:
    return torch.exp(-((a[..., :, None] - b[..., None, :]) ** 2) / (2 * width[..., None, None] ** 2))


def _after(values: Tensor, warmup: int) -> Tensor:
    return values * (torch.arange(values.shape[-1]) >= warmup)
