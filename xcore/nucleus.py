"""Nucleus sampling (Holtzman et al.: The Curious Case of Neural Text Degeneration, ICLR 2020, section 3.1).

Every method that lets a language model speak draws tokens here, by random numbers of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nucleus(probabilities: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens that together have probability p.

    Parameters
    ----------
    probabilities
        (n, V), rows sum to 1.
    p
        In [0, 1]; at least one token is kept, all of them at 1.

    Returns
    -------
    kept : (n, m)
        Probabilities in falling order, zero outside of the nucleus; m <= V is enough for the largest one.
    tokens : (n, m)
        The token of each place; equal probabilities in the order of tokens.
    """
    # Tokens below (1 - p) / V have less than 1 - p together, so the nucleus is complete without them, and a vocabulary
    # of 100,000 need not be sorted; half of it leaves room for rounding. topk gives equal ones in any order: they are
    # put in that of tokens first.
    some = int((probabilities >= 0.5 * (1 - p) / probabilities.shape[-1]).sum(-1).max())
    likely = probabilities.topk(some, sorted=False).indices.sort(-1).values
    ordered, order = probabilities.gather(-1, likely).sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    inside = before < p if p < 1 else torch.ones_like(before, dtype=torch.bool)
    inside[:, 0] = True
    return ordered * inside, likely.gather(-1, order)


def pick(kept: Tensor, tokens: Tensor, u: Tensor) -> Tensor:
    """The tokens (n,) at the quantiles u (n,) in [0, 1) of what `nucleus` kept."""
    mass = kept.cumsum(-1)
    place = torch.searchsorted(mass, u[:, None] * mass[:, -1:], right=True)
    last = (kept > 0).sum(-1, keepdim=True) - 1
    return tokens.gather(-1, torch.minimum(place, last)).squeeze(-1)
