"""How well phrases go with concepts over probe images, and how well they would by chance.

N probe images, k concepts, V phrases, R orders by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

FIRST, LAST = 0.998, 0.97
"""How sure it is that the first and the last of the chosen images show the concept (released code of CLIP-Dissect)."""


def soft_wpmi(
    strength: Tensor, similarity: Tensor, chance: Tensor, top: int, sharpness: float
) -> tuple[Tensor, Tensor]:
    """Soft weighted pointwise mutual information (CLIP-Dissect, section 3.2, equations 4 to 7).

    Parameters
    ----------
    strength, similarity, chance
        (N, k) of the concepts, (N, V) of images and phrases, (N, R) of no concept.
    top
        How many images stand for a concept.
    sharpness
        What similarities are multiplied by before the softmax over phrases.

    Returns
    -------
    tuple
        Scores (k, V) of the concepts, and (R, V) of the orders by chance.
    """
    given = (sharpness * similarity).softmax(dim=1)  # p(phrase | image)
    sure = torch.linspace(FIRST, LAST, min(top, len(strength)), dtype=given.dtype)[:, None]

    def log_likelihood(values: Tensor) -> Tensor:
        rows = [given[column.argsort(descending=True, stable=True)[: len(sure)]] for column in values.T]
        return torch.stack([torch.log1p(sure * (row - 1)).sum(dim=0) for row in rows])

    of_chance = log_likelihood(chance)
    prior = of_chance.logsumexp(dim=0) - torch.tensor(float(len(of_chance))).log()
    return log_likelihood(strength) - prior, of_chance - prior


def rank_correlation(strength: Tensor, similarity: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Spearman's correlations (k, V) of the concepts, and (R, V) of the orders by chance."""
    phrases = standard_ranks(similarity)
    return standard_ranks(strength).T @ phrases, standard_ranks(chance).T @ phrases


def standard_ranks(values: Tensor) -> Tensor:
    """Ranks in each column, ties by their mean, with mean 0 and length 1; a constant column is zero."""
    ordered = values.sort(dim=0).values
    ranks = torch.stack(
        [
            (torch.searchsorted(o, v) + torch.searchsorted(o, v, right=True)).double()
            for o, v in zip(ordered.T.contiguous(), values.T.contiguous(), strict=True)
        ],
        dim=1,
    )
    centred = ranks - ranks.mean(dim=0)
    lengths: Tensor = centred.norm(dim=0)
    return centred / lengths.clamp_min(1e-12)


def p_values(scores: Tensor, chance: Tensor) -> Tensor:
    """(k,) for each concept, how often the best phrase of an order by chance is as good as its own best one.

    The best of all phrases is compared with the best of all phrases, so trying many is paid for.
    """
    best, best_by_chance = scores.amax(dim=1), chance.amax(dim=1)
    return (1 + (best_by_chance[None] >= best[:, None]).sum(dim=1)) / (1 + len(best_by_chance))
