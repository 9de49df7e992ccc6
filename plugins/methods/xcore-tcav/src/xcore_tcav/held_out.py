"""On which side of their CAV held-out samples are: cross-validation of many CAVs, with as few steps as decide it.

Cross-validation asks of each fit only on which side of its plane the held-out samples are. Two facts about the optimum
w* bound that before a fit has converged:

- With w the weights so far, and w' those of any dual feasible point, both objectives are strongly convex, so that
  ``|w - w*|^2 + |w' - w*|^2 <= 2 (primal - dual)``: w* is in a ball around (w + w') / 2 (the safe balls of Ndiaye et
  al., Gap Safe Screening Rules for Sparse-Group Lasso, NeurIPS 2016, use the same inequality). If w' is that of the
  residuals at w, with an intercept at which they add up to 0, the gap is ``|w - w'|^2 / 2`` and the radius
  ``|w - w'| / 2``.
- The optimal intercept given w is where ``sum_i y_i sigmoid(-y_i (w.x_i + b))`` changes its sign, and this sum falls
  with b. So a sample x is on the positive side if and only if ``sum_i y_i sigmoid(-y_i w.(x_i - x)) > 0``, and in the
  ball each w.(x_i - x) is within the radius times ``|x_i - x|`` of its value at the centre.

What the bounds do not decide is fitted until it has converged, as any other CAV.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xcore_tcav.logistic import Fit, descend, newton_system, together

_BALANCED = 1e-9  # residuals add up to 0 but for this share of their size
_ROUNDING = 1e-9  # by how much a bound must be on one side
_WIDER = 1 + 1e-6  # the radius is taken larger by what residuals that are balanced only nearly may add
_SHIFTS = 3  # Newton steps for the intercept at which they are


class _Whole(NamedTuple):
    """The Newton system of b fits at their optimum, from which those without some samples follow."""

    gram: Tensor
    """(b, m, m) inner products of all samples."""
    root: Tensor
    """(b, m) s, the roots of Newton's weights."""
    right: Tensor
    """(b, m, 2) right sides of the system."""
    inverse: Tensor
    """(b, m, m) inverse of the system I + s K s."""


class _Open(NamedTuple):
    """Fits without a fold that their first step does not decide, b of them."""

    rows: Tensor
    """(b,) which of the fits on all samples each belongs to."""
    tested: Tensor
    """(b, held) the samples that are held out."""
    labels: Tensor
    """(b, kept) y of the others, 1 or -1."""
    inner: Tensor
    """(b, kept, kept) inner products."""
    cross: Tensor
    """(b, held, kept)"""
    apart: Tensor
    """(b, held, kept) distances."""
    near: Fit
    """Where the first step led."""


_Products = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Coefficients (b, kept, j) -> the inner products of what they make with kept (b, kept, j) and held-out samples."""


def sides(gram: Tensor, positive: Tensor, whole: Fit, fold: Tensor, c: float = 1.0) -> Tensor:
    """On which side of the CAV that is fitted without its fold each sample is.

    Parameters
    ----------
    gram
        (B, m, m) inner products of all samples, float64.
    positive
        (m,) bool: which samples are positives.
    whole
        The fits on all samples. Each fit without a fold begins with a Newton step from their margins.
    fold
        (m,) number of the fold of each sample.
    c
        Inverse strength of the regularisation.

    Returns
    -------
    (B, m) 1 on the side of the positives, -1 on the other one, 0 on the plane.

    Raises
    ------
    XcoreError
        As `xcore_tcav.logistic.fit`.
    """
    parts = zip(gram.split(together(gram)), whole.margins.split(together(gram)), strict=True)
    return torch.cat([_sides(part, positive, margins, fold, c) for part, margins in parts])


def _sides(gram: Tensor, positive: Tensor, margins: Tensor, fold: Tensor, c: float) -> Tensor:
    own = gram.diagonal(dim1=1, dim2=2)
    distance = (own[:, :, None] + own[:, None, :]).sub_(gram, alpha=2).clamp_min_(0).sqrt_()
    y = 2 * positive.to(gram) - 1
    root, right, factor = newton_system(gram, y, c, margins)
    whole = _Whole(gram, root, right, torch.cholesky_inverse(factor))
    found, open_ones = torch.zeros_like(margins), dict[int, list[_Open]]()
    for k in fold.unique().tolist():
        kept, tested = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        near, apart = _without(whole, kept, tested), distance[:, tested[:, None], kept]
        found[:, tested] = decided = _certain(_parts(gram, kept, tested), apart, y[kept], c, near)
        rest = (decided == 0).any(1).nonzero()[:, 0]
        if len(rest):
            inner, cross = (
                gram[rest[:, None, None], kept[:, None], kept],
                gram[rest[:, None, None], tested[:, None], kept],
            )
            labels = y[kept].expand(len(rest), -1)
            one = _Open(rest, tested.expand(len(rest), -1), labels, inner, cross, apart[rest], near.of(rest))
            open_ones.setdefault(len(kept), []).append(one)
    for alike in open_ones.values():  # fits of as many samples go on together, whichever fold they leave out
        one = _joined(alike)
        found[one.rows[:, None], one.tested] = _fitted(one, c)
    return found


def _joined(alike: Sequence[_Open]) -> _Open:
    nears = [one.near for one in alike]
    return _Open(
        rows=torch.cat([one.rows for one in alike]),
        tested=torch.cat([one.tested for one in alike]),
        labels=torch.cat([one.labels for one in alike]),
        inner=torch.cat([one.inner for one in alike]),
        cross=torch.cat([one.cross for one in alike]),
        apart=torch.cat([one.apart for one in alike]),
        near=Fit(*(torch.cat(each) for each in zip(*nears, strict=True))),
    )


def _fitted(one: _Open, c: float) -> Tensor:
    """(b, held samples) the sides, by fits that begin where they are near and end when all sides are decided."""
    inner, cross, apart, y = one.inner, one.cross, one.apart, one.labels
    decided = torch.zeros_like(apart[:, :, 0])

    def settled(rows: Tensor, now: Fit) -> Tensor:
        def products(vectors: Tensor) -> tuple[Tensor, Tensor]:
            return inner[rows] @ vectors, cross[rows] @ vectors

        decided[rows] = _certain(products, apart[rows], y[rows], c, now)
        return (decided[rows] != 0).all(1)

    fitted = descend(inner, y, c, one.near, settled=settled)
    by_margin = ((cross @ fitted.alpha[:, :, None])[:, :, 0] + fitted.intercept[:, None]).sign()
    return torch.where((decided != 0).all(1, keepdim=True), decided, by_margin)


def _without(whole: _Whole, kept: Tensor, tested: Tensor) -> Fit:
    """Where a Newton step without the held-out samples leads from the optimum with them.

    The inverse of a part of a matrix follows from that of all of it, by a system of the size of what is left out.
    """
    right = whole.right.clone()
    right[:, tested] = 0
    solved = whole.inverse @ right
    # where that is singular, the result is not finite, and nothing is decided by it
    within = torch.linalg.solve_ex(whole.inverse[:, tested[:, None], tested], solved[:, tested])[0]
    solved = (solved - whole.inverse[:, :, tested] @ within) * whole.root[:, :, None]
    solved[:, tested] = 0
    total = solved.sum(1)
    intercept = total[:, 0] / total[:, 1]
    alpha = solved[:, :, 0] - intercept[:, None] * solved[:, :, 1]
    margins = (whole.gram @ alpha[:, :, None])[:, :, 0] + intercept[:, None]
    return Fit(alpha[:, kept], intercept, margins[:, kept])


def _parts(gram: Tensor, kept: Tensor, tested: Tensor) -> _Products:
    """The products by all of the matrix at once, which is not copied for it."""

    def products(vectors: Tensor) -> tuple[Tensor, Tensor]:
        all_samples = gram.new_zeros(len(gram), gram.shape[1], vectors.shape[2])
        all_samples[:, kept] = vectors
        made = gram @ all_samples
        return made[:, kept], made[:, tested]

    return products


def _certain(products: _Products, apart: Tensor, y: Tensor, c: float, now: Fit) -> Tensor:
    """(b, held samples) the side at the optimum, 1 or -1, where the bounds decide it; otherwise 0."""
    margins = now.margins
    for _ in range(_SHIFTS):
        pull = y * torch.sigmoid(-y * margins)
        margins = margins + (pull.sum(1) / (pull.abs() - pull.square()).sum(1))[:, None]
    residual = c * y * torch.sigmoid(-y * margins)
    balanced = residual.sum(1).abs() <= _BALANCED * residual.abs().sum(1)
    change = now.alpha - residual
    within, held = products(torch.stack((change, (now.alpha + residual) / 2), 2))
    radius = (change * within[:, :, 0]).sum(1).clamp_min(0).sqrt() / 2 * _WIDER
    differences = within[:, None, :, 1] - held[:, :, 1:]
    spread = radius[:, None, None] * apart
    signs = y.unsqueeze(-2)
    least = (signs * torch.sigmoid(-signs * (differences + spread))).sum(2)
    most = (signs * torch.sigmoid(-signs * (differences - spread))).sum(2)
    up, down = balanced[:, None] & (least > _ROUNDING), balanced[:, None] & (most < -_ROUNDING)
    return up.to(apart) - down.to(apart)
