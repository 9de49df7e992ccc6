"""What the presence of a concept might have been, given that of all other concepts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Kind = Literal["regression", "neighbours", "kde"]
RIDGE = 0.01
"""Penalty of the regression of one concept on the others, per sample."""


class Sampler:
    """Draws the presence of each concept given that of the others, without a look at any output.

    Parameters
    ----------
    read
        (n, k) presence of k concepts in n samples; columns with mean 0 and standard deviation 1.
    kind
        regression = the presence that a ridge regression on the other concepts predicts, without the sample itself,
        and the error of another sample; neighbours = the presence in one of the nearest samples; kde = the same by
        weights of a Gaussian kernel, and Gaussian noise of the kernel's width.
    neighbours
        How many of the nearest samples, by the other concepts, the last two choose from. The width of the kernel is the
        distance of the farthest of them.
    """

    def __init__(self, read: Tensor, kind: Kind, neighbours: int) -> None:
        self.read, self.kind = read, kind
        self.neighbours = min(neighbours, len(read) - 1)
        self.squared = torch.cdist(read, read).pow(2)

    def others(self, concept: int) -> Tensor:
        """(n, n) squared distances of the samples in the presence of the other concepts."""
        own = self.read[:, concept]
        return (self.squared - (own[:, None] - own[None, :]) ** 2).clamp_min(0)

    def draw(self, concept: int, generator: torch.Generator) -> Tensor:
        """(n,) a counterfeit presence of a concept in each sample."""
        n, own = len(self.read), self.read[:, concept]
        if self.kind == "regression":
            error = self._errors[:, concept]
            # a random cycle: no sample gets its own error
            order = torch.randperm(n, generator=generator)
            other = torch.empty(n, dtype=torch.long)
            other[order] = order.roll(1)
            return own - error + error[other]
        distances = self.others(concept).fill_diagonal_(torch.inf)
        near, rows = distances.topk(self.neighbours, largest=False)
        if self.kind == "neighbours":
            picked: Tensor = own[rows[torch.arange(n), torch.randint(self.neighbours, (n,), generator=generator)]]
            return picked
        weights = torch.exp(-near / (2 * near[:, -1:].clamp_min(1e-12)))
        weights = weights / weights.sum(1, keepdim=True)
        drawn = torch.multinomial(weights, 1, generator=generator)[:, 0]
        values = own[rows]
        mean = (weights * values).sum(1, keepdim=True)
        spread = (weights * (values - mean) ** 2).sum(1).sqrt()
        width = spread * (4 / (3 * self.neighbours)) ** 0.2  # Silverman's rule
        noise = torch.randn(n, generator=generator, dtype=own.dtype)
        found: Tensor = values[torch.arange(n), drawn] + width * noise
        return found

    @property
    def _errors(self) -> Tensor:
        """(n, k) what a regression on the other concepts gets wrong in each sample, which it did not see.

        All k regressions come from one inverse P of the penalised Gram matrix: the errors are Z P / diag(P).
        """
        z = self.read
        n, k = z.shape
        inverse = torch.linalg.inv(z.T @ z + RIDGE * n * torch.eye(k, dtype=z.dtype))
        moved, own = z @ inverse, inverse.diagonal()
        leverage = (moved * z).sum(1, keepdim=True) - moved**2 / own + 1 / n
        left_out: Tensor = moved / own / (1 - leverage).clamp_min(1e-3)
        return left_out
