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

from xcore_tcav.logistic import fit


class Products(NamedTuple):
    """Inner products of the samples of K concept sets of n samples, all that their CAVs need; float64 on the CPU."""

    own: Tensor
    """(K, n, n) with themselves."""
    negatives: Tensor
    """(K, R, n, n) with each negative set."""
    gradients: Tensor
    """(K, m, n) with the class gradients."""


class NegativeSets:
    """R negative sets of n samples, with the inner products that all CAVs against them share.

    Parameters
    ----------
    samples
        (R, n, d) activations, float32.
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
        self.gram = torch.bmm(centred, centred.transpose(1, 2)).cpu().double()
        """(R, n, n) products of every negative set with itself: those with all others would grow with R squared."""
        self.gradients = _product(gradients, self.rows).view(-1, self.r, self.n).transpose(0, 1)
        """(R, m, n) their products with the gradients."""
        self.labels = torch.arange(2 * self.n) < self.n
        """(2n,) the concept's samples come first."""

    def products(self, sets: Sequence[Tensor]) -> Products:
        """Inner products of K concept sets, each (n, d).

        One product for all of them: where d is large, reading the negatives once for each set would take longest.
        """
        x = torch.stack(list(sets)).sub_(self.centre)
        rows = x.flatten(0, 1)
        own = torch.bmm(x, x.transpose(1, 2)).cpu().double()
        cross = _product(rows, self.rows).view(-1, self.n, self.r, self.n).transpose(1, 2)
        gradients = _product(self.class_gradients, rows).view(-1, len(x), self.n).transpose(0, 1)
        return Products(own, cross, gradients)

    def sensitivity(self, products: Products, unit: bool = True) -> Tensor:
        """Sensitivities g.v, (K, R, m), with |v| = 1 or as fitted."""
        gram = self._joined(products)
        alpha = fit(gram, self.labels, c=self.c).alpha
        square = (alpha * (gram @ alpha[:, :, None])[:, :, 0]).sum(1).view(-1, self.r, 1)
        alpha = alpha.view(-1, self.r, 2 * self.n)
        s = torch.einsum("kmn,krn->krm", products.gradients, alpha[:, :, : self.n])
        s += torch.einsum("rmn,krn->krm", self.gradients, alpha[:, :, self.n :])
        # A set that equals its negative set has no CAV, so its sensitivity is 0.
        return torch.where(square > 0, s / square.clamp_min(1e-300).sqrt(), 0.0) if unit else s

    def accuracy(self, products: Products, folds: int) -> Tensor:
        """(K,) cross-validated accuracy in [0, 1], mean over folds and negative sets; a sample on the plane counts 1/2.

        Fold k holds out samples k, k + folds, ... of the concept and of the negatives.
        """
        folds = min(folds, self.n)
        held = (torch.arange(self.n) % folds == torch.arange(folds)[:, None]).repeat(1, 2)
        gram = self._joined(products)
        right = []
        for out in held:  # few folds, one after the other: all in one batch would take that many times the memory
            kept, tested = (~out).nonzero()[:, 0], out.nonzero()[:, 0]
            result = fit(gram[:, kept[:, None], kept], self.labels[kept], c=self.c)
            margin = (gram[:, tested[:, None], kept] @ result.alpha[:, :, None])[:, :, 0] + result.intercept[:, None]
            side = torch.where(self.labels[tested], margin, -margin).sign()
            right.append((side.view(-1, self.r, side.shape[1]) + 1) / 2)
        return torch.cat(right, 2).mean((1, 2))

    @cached_property
    def pair_scores(self) -> Tensor:
        """TCAV scores of negative sets against one another, every unordered pair once: (R (R - 1) / 2,).

        The reversed pair has the opposite CAV, hence 1 - score where no sensitivity is 0: it adds nothing.
        """
        left, right = torch.triu_indices(self.r, self.r, 1)
        every = _product(self.rows, self.rows).view(self.r, self.n, self.r, self.n).transpose(1, 2)
        gram = _blocks(self.gram[left], every[left, right], self.gram[right])
        alpha = fit(gram, self.labels, c=self.c).alpha
        s = torch.cat((self.gradients[left], self.gradients[right]), 2) @ alpha[:, :, None]
        return (s[:, :, 0] > 0).double().mean(1)

    def cavs(self, x: Tensor) -> Tensor:
        """The R CAVs (R, d) of one concept set (n, d), as fitted, in float32."""
        alpha = fit(self._joined(self.products([x])), self.labels, c=self.c).alpha.to(x)
        rows = self.rows.view(self.r, self.n, -1)
        return alpha[:, : self.n] @ (x - self.centre) + (alpha[:, None, self.n :] @ rows)[:, 0]

    def _joined(self, products: Products) -> Tensor:
        """(K R, 2n, 2n) Gram matrices of every concept set joined with every negative set."""
        shape = products.negatives.shape
        own = products.own[:, None].expand(shape)
        theirs = self.gram.expand(shape)
        return _blocks(own, products.negatives, theirs).flatten(0, 1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of rows, in the precision of the activations, kept in float64 on the CPU."""
    return (a @ b.T).cpu().double()


def _blocks(own: Tensor, cross: Tensor, theirs: Tensor) -> Tensor:
    """Gram matrix of two joined sets from its blocks."""
    return torch.cat((torch.cat((own, cross), -1), torch.cat((cross.transpose(-1, -2), theirs), -1)), -2)
