"""CAVs against R shared negative sets, computed from inner products alone.

A CAV is a combination of the samples it was fitted on, v = X^T alpha (`xcore_tcav.logistic`), so a sensitivity g.v
needs the inner products of class gradients and samples only. Those of the negatives are computed once; a concept set
adds three small matrix products, and its R fits run as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from xcore_tcav.held_out import sides
from xcore_tcav.logistic import Fit, fit

SMALLEST = 1e-9
"""Cosine of a gradient and a CAV below which their product is taken for a rounding error: for 0."""


class Fitted(NamedTuple):
    """The CAVs of K concept sets of n samples against R negative sets, by inner products alone; float64."""

    gram: Tensor
    """(K R, 2n, 2n) those of each concept set joined with each negative set."""
    gradients: Tensor
    """(K, m, n) those of the class gradients with the concept sets."""
    fit: Fit
    """The K R regressions."""


class NegativeSets:
    """R negative sets of n samples, with the inner products that all CAVs against them share.

    Parameters
    ----------
    samples
        (R, n, d) activations, float32. CAVs are fitted on their device.
    gradients
        (m, d) gradients of the class logit.
    c
        Inverse strength of the L2 regularisation.
    """

    def __init__(self, samples: Tensor, gradients: Tensor, c: float) -> None:
        self.r, self.n = samples.shape[:2]
        # Shifting all samples changes no CAV, since alpha adds up to 0, and centred float32 products lose fewer digits.
        self.centre = samples.mean((0, 1))
        self.rows = (samples - self.centre).flatten(0, 1)
        self.class_gradients, self.c = gradients, c
        centred = self.rows.view(self.r, self.n, -1)
        self.gram = torch.bmm(centred, centred.transpose(1, 2)).double()
        """(R, n, n) products of every negative set with itself: those with all others would grow with R squared."""
        self.gradients = _product(gradients, self.rows).view(-1, self.r, self.n).transpose(0, 1)
        """(R, m, n) their products with the gradients."""
        self.smallest = SMALLEST * gradients.double().norm(dim=1)
        """(m,) the least |g.v| for |v| = 1 that is no rounding error."""
        self.labels = torch.arange(2 * self.n, device=samples.device) < self.n
        """(2n,) the concept's samples come first."""

    def fitted(self, sets: Sequence[Tensor]) -> Fitted:
        """The CAVs of K concept sets, each (n, d).

        One product for all of them: where d is large, reading the negatives once for each set would take longest.
        """
        x = torch.stack(list(sets)).sub_(self.centre)
        rows, shape = x.flatten(0, 1), (len(x), self.r, self.n, self.n)
        own = torch.bmm(x, x.transpose(1, 2)).double()
        cross = _product(rows, self.rows).view(-1, self.n, self.r, self.n).transpose(1, 2)
        gradients = _product(self.class_gradients, rows).view(-1, len(x), self.n).transpose(0, 1)
        theirs = self.gram.expand(shape)
        gram = _blocks(own[:, None].expand(shape), cross, theirs).flatten(0, 1)
        return Fitted(gram, gradients, fit(gram, self.labels, c=self.c))

    def sensitivity(self, fitted: Fitted, unit: bool = True) -> Tensor:
        """Sensitivities g.v, (K, R, m), with |v| = 1 or as fitted."""
        square = fitted.fit.square().view(-1, self.r, 1)
        alpha = fitted.fit.alpha.view(-1, self.r, 2 * self.n)
        s = torch.einsum("kmn,krn->krm", fitted.gradients, alpha[:, :, : self.n])
        s += torch.einsum("rmn,krn->krm", self.gradients, alpha[:, :, self.n :])
        s = self._without_rounding(s, square)
        # A set that equals its negative set has no CAV, so its sensitivity is 0.
        return torch.where(square > 0, s / square.clamp_min(1e-300).sqrt(), 0.0) if unit else s

    def accuracy(self, fitted: Fitted, folds: int) -> Tensor:
        """(K,) cross-validated accuracy in [0, 1], mean over folds and negative sets; a sample on the plane counts 1/2.

        Fold k holds out samples k, k + folds, ... of the concept and of the negatives.
        """
        fold = (torch.arange(self.n, device=fitted.gram.device) % min(folds, self.n)).repeat(2)
        side = sides(fitted.gram, self.labels, fitted.fit, fold, c=self.c)
        right = (torch.where(self.labels, side, -side) + 1) / 2
        return right.view(-1, self.r * 2 * self.n).mean(1)

    @cached_property
    def pair_scores(self) -> Tensor:
        """TCAV scores of negative sets against one another, every unordered pair once: (R (R - 1) / 2,).

        The reversed pair has the opposite CAV, hence 1 - score where no sensitivity is 0: it adds nothing.
        """
        left, right = torch.triu_indices(self.r, self.r, 1, device=self.gram.device)
        every = _product(self.rows, self.rows).view(self.r, self.n, self.r, self.n).transpose(1, 2)
        gram = _blocks(self.gram[left], every[left, right], self.gram[right])
        fitted = fit(gram, self.labels, c=self.c)
        s = (torch.cat((self.gradients[left], self.gradients[right]), 2) @ fitted.alpha[:, :, None])[:, :, 0]
        return (self._without_rounding(s, fitted.square()[:, None]) > 0).double().mean(1)

    def _without_rounding(self, s: Tensor, square: Tensor) -> Tensor:
        """Products g.v (..., m) of CAVs with the squared lengths (..., 1); 0 where nothing but rounding is left.

        A gradient that is orthogonal to a CAV gives a product of either sign, which a score would count.
        """
        return torch.where(s.abs() <= self.smallest * square.clamp_min(0).sqrt(), 0.0, s)

    def cavs(self, x: Tensor, alpha: Tensor) -> Tensor:
        """The R CAVs (R, d) of one concept set (n, d) with coefficients (R, 2n), as fitted, in float32."""
        alpha, rows = alpha.to(x), self.rows.view(self.r, self.n, -1)
        return alpha[:, : self.n] @ (x - self.centre) + (alpha[:, None, self.n :] @ rows)[:, 0]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of rows, in the precision of the activations, kept in float64."""
    return (a @ b.T).double()


def _blocks(own: Tensor, cross: Tensor, theirs: Tensor) -> Tensor:
    """Gram matrix of two joined sets from its blocks."""
    return torch.cat((torch.cat((own, cross), -1), torch.cat((cross.transpose(-1, -2), theirs), -1)), -2)
