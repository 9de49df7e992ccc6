"""Nucleus sampling (Holtzman et al.: The Curious Case of Neural Text Degeneration, ICLR 2020, section 3.1).

All sampling from language models draws its tokens with these functions. The caller draws the random numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nucleus(probabilities: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """The smallest set of the most probable tokens whose probabilities sum to p or more, the nucleus V^(p).

    Parameters
    ----------
    probabilities
        (n, V) distributions over a vocabulary of V tokens; each row sums to 1.
    p
        In [0, 1]. At 0 only the most probable token is kept, at 1 all tokens are.

    Returns
    -------
    kept : Tensor
        (n, m) probabilities in falling order, zero outside of the nucleus; m is the size of the largest one or more.
    tokens : Tensor
        (n, m) the tokens that they belong to. Equal probabilities are in the order of their tokens.
    """
    # Tokens below (1 - p) / V have less than 1 - p together, so the nucleus is complete without them, and a vocabulary
    # of 100,000 need not be sorted. Half of that bound leaves room for rounding. topk gives equal probabilities in any
    # order, so its tokens are sorted first.
    some = int((probabilities >= 0.5 * (1 - p) / probabilities.shape[-1]).sum(-1).max())
    likely = probabilities.topk(some, sorted=False).indices.sort(-1).values
    ordered, order = probabilities.gather(-1, likely).sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    inside = before < p if p < 1 else torch.ones_like(before, dtype=torch.bool)
    inside[:, 0] = True
    return ordered * inside, likely.gather(-1, order)


def pick(kept: Tensor, tokens: Tensor, u: Tensor) -> Tensor:
    """Draw one token from each nucleus.

    Parameters
    ----------
    kept, tokens
        (n, m), as `nucleus` returns them. The probabilities are renormalised.
    u
        (n,) random numbers in [0, 1): the quantiles at which the tokens are drawn.

    Returns
    -------
    (n,) tokens.
    """
    mass = kept.cumsum(-1)
    place = torch.searchsorted(mass, u[:, None] * mass[:, -1:], right=True)
    last = (kept > 0).sum(-1, keepdim=True) - 1
    return tokens.gather(-1, torch.minimum(place, last)).squeeze(-1)
