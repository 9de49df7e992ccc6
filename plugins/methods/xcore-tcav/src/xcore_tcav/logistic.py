"""L2 logistic regression in the row span, for many small problems at once.

A CAV is fitted on n samples of d activations with n << d. By the representer theorem its weights lie in the span of
the samples, w = X^T alpha, so the fit needs the n x n Gram matrix only: hundreds of CAVs are one batched Newton
iteration over small matrices, whatever d is, and the optimum is exact rather than stopped early.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from xcore.contract import XcoreError

_CLIP = 1e-24  # keeps Newton's weights p(1 - p) positive where a probability saturates
_HALVINGS = 30
_SMALL = 1e-6  # stop after a step that moves no margin by more than this share of the largest one
_AT_ONCE = 128  # problems whose matrices stay in a processor's cache

Settled = Callable[[Tensor, "Fit"], Tensor]
"""Rows of the batch and where they are -> which of them need no further steps."""


class Fit(NamedTuple):
    """B logistic regressions on m samples each, float64."""

    alpha: Tensor
    """(B, m) coefficients of the samples, w = X^T alpha. They add up to 0, so shifting all samples changes nothing."""
    intercept: Tensor
    """(B,)"""
    margins: Tensor
    """(B, m) w.x + b of the samples."""

    def of(self, rows: Tensor) -> Fit:
        """Some of the regressions."""
        return Fit(*(part[rows] for part in self))

    def zero_where(self, rows: Tensor) -> Fit:
        """The same with w = 0 and b = 0 for some of the regressions, (B,) bool."""
        alpha, margins = (part.masked_fill(rows[:, None], 0) for part in (self.alpha, self.margins))
        return Fit(alpha, self.intercept.masked_fill(rows, 0), margins)

    def square(self) -> Tensor:
        """(B,) w.w = alpha K alpha = alpha (f - b), and alpha adds up to 0."""
        return (self.alpha * self.margins).sum(1)


def fit(gram: Tensor, positive: Tensor, c: float = 1.0, iterations: int = 200) -> Fit:
    r"""Minimise :math:`\frac12 |w|^2 + C \sum_i \log(1 + e^{-y_i (w \cdot x_i + b)})` for each of B Gram matrices.

    This is the objective of scikit-learn's ``LogisticRegression(C=c)``: the intercept is not regularised. See
    `descend` for how. Results are on the device of the Gram matrices.

    Parameters
    ----------
    gram
        (B, m, m) inner products of the samples, float64.
    positive
        (m,) bool: which samples are positives (y = 1; the others y = -1).
    c
        Inverse strength of the regularisation.
    iterations
        Upper bound on the Newton steps; a fit usually takes about ten.

    Raises
    ------
    XcoreError
        The Gram matrices are not finite, or a fit does not converge.
    """
    y = 2 * positive.to(gram) - 1
    parts = [
        descend(p, y.expand(p.shape[:2]), c, from_zero(p), iterations=iterations) for p in gram.split(together(gram))
    ]
    return Fit(*(torch.cat(each) for each in zip(*parts, strict=True)))


def together(gram: Tensor) -> int:
    """How many problems are solved at once: a few on a processor, whose cache is small, otherwise all."""
    return _AT_ONCE if gram.device.type == "cpu" else max(1, len(gram))


def from_zero(gram: Tensor) -> Fit:
    """The start w = 0, b = 0."""
    b, m = gram.shape[:2]
    return Fit(gram.new_zeros(b, m), gram.new_zeros(b), gram.new_zeros(b, m))


def descend(
    gram: Tensor,
    y: Tensor,
    c: float,
    start: Fit,
    *,
    iterations: int = 200,
    settled: Settled | None = None,
) -> Fit:
    """The optimum of B problems from a start, by Newton's method (iteratively reweighted least squares).

    A step is halved until the objective does not rise. The objective is convex, so the optimum is the same from any
    start. A fit ends after a step that moves no margin by more than 1e-6 (1 + the largest margin). Steps converge
    quadratically: what it leaves undone is below the rounding of the margins. A problem that has converged is not
    touched again, so its result does not depend on the others.

    Parameters
    ----------
    gram, c, iterations
        As for `fit`.
    y
        (B, m) 1 for positives, -1 for the other samples.
    start
        Where to begin; where that is worse than w = 0 and b = 0, there, since samples that are far on the wrong side
        have no curvature by which to find back. Its margins must be those of its alpha and intercept, and alpha must
        add up to 0: the objective is computed from them.
    settled
        Which problems may end before they have converged; None = none.

    Raises
    ------
    XcoreError
        As `fit`.
    """
    if not gram.isfinite().all():
        raise XcoreError(
            "the inner products of the activations are not finite", "check whether the activations are too large"
        )
    value = objective(start, y, c)
    at_zero = c * gram.shape[1] * log(2)
    worse = ~(value < at_zero)
    now, value = start.zero_where(worse), value.masked_fill(worse, at_zero)
    found = Fit(*(part.clone() for part in now))
    todo = torch.arange(len(gram), device=gram.device)
    for _ in range(iterations):
        now, value, moved = _step(gram, y, c, now, value)
        keep = ~(moved <= _SMALL * (1 + now.margins.abs().amax(1)))
        if settled is not None:
            keep &= ~settled(todo, now)
        if not keep.all():
            for kept, part in zip(found, now, strict=True):
                kept[todo] = part
            todo, gram, y, now, value = todo[keep], gram[keep], y[keep], now.of(keep), value[keep]
            if not len(todo):
                return found
    raise XcoreError(f"{len(todo)} of {len(found.alpha)} CAV fits did not converge in {iterations} steps")


def newton_system(gram: Tensor, y: Tensor, c: float, margins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The system of a Newton step from given margins (B, m): the roots s of its weights, two right sides, its factor.

    With z the target of the step and s = sqrt(C p (1 - p)), alpha = s u makes the system well conditioned:
    (I + s K s) u = s z - s b. The right sides (B, m, 2) are s z and s, and the factor is that of Cholesky.
    """
    chance = torch.sigmoid(-y * margins)
    # C (t - p), which alpha equals at the optimum, in a form that keeps its digits where p is close to t
    residual = c * y * chance
    s = (c * (chance * torch.sigmoid(y * margins)).clamp_min(_CLIP)).sqrt()
    system = (s[:, :, None] * gram).mul_(s[:, None, :])
    system.diagonal(dim1=1, dim2=2).add_(1)
    return s, torch.stack((s * margins + residual / s, s), 2), torch.linalg.cholesky_ex(system).L


def _newton_step(gram: Tensor, y: Tensor, c: float, now: Fit) -> Fit:
    """The full Newton step. Margins follow from the step, which gets small, so that they lose no digits at the end."""
    s, right, factor = newton_system(gram, y, c, now.margins)
    solved = torch.cholesky_solve(right, factor) * s[:, :, None]
    intercept = solved[:, :, 0].sum(1) / solved[:, :, 1].sum(1)
    alpha = solved[:, :, 0] - intercept[:, None] * solved[:, :, 1] - now.alpha
    shift = intercept - now.intercept
    return Fit(alpha, shift, (gram @ alpha[:, :, None])[:, :, 0] + shift[:, None])


def _step(gram: Tensor, y: Tensor, c: float, now: Fit, value: Tensor) -> tuple[Fit, Tensor, Tensor]:
    """One step that does not raise the objective: where it leads, its value there, and how far margins moved (B,)."""
    step = _newton_step(gram, y, c, now)
    size = torch.ones_like(value)
    for _ in range(_HALVINGS):
        alpha, margins = now.alpha + size[:, None] * step.alpha, now.margins + size[:, None] * step.margins
        half = (alpha * margins).sum(1) / 2
        new = _objective(half, margins, y, c)
        worse = ~(new <= value + 1e-12 * value.abs())
        if not worse.any():
            break
        size = torch.where(worse, size / 2, size)
    made = Fit(alpha, now.intercept + size * step.intercept, margins)
    moved = size * step.margins.abs().amax(1)
    return made, new, moved


def objective(at: Fit, y: Tensor, c: float) -> Tensor:
    """(B,) the primal value."""
    return _objective(at.square() / 2, at.margins, y, c)


def _objective(half_square: Tensor, margins: Tensor, y: Tensor, c: float) -> Tensor:
    return half_square + c * softplus(-y * margins).sum(1)
