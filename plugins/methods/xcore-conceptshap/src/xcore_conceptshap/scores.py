"""Scores of concepts at the positions of a layer, and the network that recovers the activations from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

Scale = Literal["l2", "sum", "none"]

ROWS = 256
"""Positions that a recovery takes at once, for each thread: its hidden layer of so many stays in the processor's cache,
which halves the time of a gradient step."""
SMALL = 1e-3
"""Added to a sum of scores before they are divided by it, as in the released code."""


def kept_products(rows: Tensor, concepts: Tensor, beta: float) -> Tensor:
    """How much of each concept is at each position, (n, P, k) >= 0.

    It is the product <a, c> with the unit vector c of the concept where the cosine of the two is above `beta`, 0
    elsewhere.

    Parameters
    ----------
    rows
        (n, P, C) activations.
    concepts
        (k, C), of any length.
    """
    products = rows @ normalize(concepts, dim=1).T
    near = products > beta * rows.norm(dim=2, keepdim=True)
    return torch.where(near, products, torch.zeros_like(products))


def concept_scores(kept: Tensor, scale: Scale, members: Tensor | None = None) -> Tensor:
    """v(x), (n, P, k): the scores of the concepts from which activations are recovered.

    Parameters
    ----------
    kept
        Of `kept_products`.
    scale
        What the scores at a position are divided by: their length, their sum, or nothing.
    members
        (k,) bool: the concepts that are used; the scores of the others are 0. None = all.

    References
    ----------
    Yeh et al., NeurIPS 2020, section 3.
    """
    used = kept if members is None else kept * members.to(kept)
    if scale == "l2":
        return normalize(used, dim=2)
    return used / (used.sum(2, keepdim=True) + SMALL) if scale == "sum" else used


@dataclass(frozen=True, eq=False)
class Distinct:
    """Scores that stay as they are, each that occurs only once.

    Of few concepts many positions have the same scores: none of them is there, or one alone, whose score is then 1.
    """

    scores: Tensor
    """(d, k), all different."""
    at: Tensor
    """(n, P): which of them each position has."""

    @classmethod
    def of(cls, scores: Tensor) -> Distinct:
        """From the scores (n, P, k) of all positions."""
        found, at = torch.unique(scores.flatten(0, 1), dim=0, return_inverse=True)
        return cls(found, at.reshape(scores.shape[:2]))

    def recovered(self, recovery: Recovery, images: Tensor) -> Tensor:
        """Activations (m, P, C) of these of the images, (m,) indices, each that occurs computed once."""
        used, at = self.at[images].unique(return_inverse=True)
        return recovery(self.scores[used]).index_select(0, at.flatten()).reshape(*at.shape, -1)


@dataclass(frozen=True, eq=False)
class Recovery:
    """g, which recovers activations from scores at each position: one hidden layer with ReLU, and a linear output."""

    weights: Sequence[Tensor]
    """(k, hidden), (hidden,), (hidden, C), (C,)."""
    mean: Tensor
    """(C,) what it gives before it has learned anything, the mean activation."""
    spread: float
    """What its output is multiplied by, so that activations of any size are learned equally fast."""

    def __call__(self, scores: Tensor) -> Tensor:
        """Activations (n, P, C) from scores (n, P, k), or (n, C) from (n, k)."""
        first, bias, second, last = self.weights
        matrix, offset = self.spread * second, self.mean + self.spread * last
        parts = scores.flatten(0, -2).split(ROWS * torch.get_num_threads())
        found = torch.cat([torch.addmm(offset, torch.addmm(bias, part, first).relu_(), matrix) for part in parts])
        return found.reshape(*scores.shape[:-1], -1)

    def copy(self) -> Recovery:
        """One with weights of its own, which can be trained."""
        return Recovery([w.detach().clone().requires_grad_() for w in self.weights], self.mean, self.spread)

    def without(self, kept: Sequence[int]) -> Recovery:
        """The same for these of the concepts alone."""
        return Recovery([self.weights[0].detach()[list(kept)], *self.weights[1:]], self.mean, self.spread)


def new_recovery(rows: Tensor, k: int, hidden: int, rng: torch.Generator) -> Recovery:
    """A recovery of k scores that has learned nothing but the mean of the activations (n, P, C)."""
    flat = rows.flatten(0, 1)
    mean = flat.mean(0)
    spread = float((flat - mean).square().mean().sqrt()) or 1.0

    def uniform(*shape: int, fan: int) -> Tensor:  # as torch begins a linear layer
        return (2 * torch.rand(*shape, generator=rng) - 1) / math.sqrt(fan)

    first, bias = uniform(k, hidden, fan=k), uniform(hidden, fan=k)
    return Recovery([first, bias, uniform(hidden, rows.shape[2], fan=hidden), torch.zeros(rows.shape[2])], mean, spread)
