"""L2 logistic regression in the row span, for many small problems at once.

A CAV is fitted on n samples of d activations with n << d. By the representer theorem its weights lie in the span of
the samples, w = X^T alpha, so the fit needs the n x n Gram matrix only: hundreds of CAVs are one batched Newton
iteration over small matrices, whatever d is, and the optimum is exact rather than stopped early.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from xcore.contract import XcoreError

_CLIP = 1e-24  # keeps Newton's weights p(1 - p) positive where a probability saturates
_HALVINGS = 30
_SMALL = 1e-6  # stop after a step that moves no margin by more than this share of the largest one


class Fit(NamedTuple):
    """B logistic regressions on m samples each, float64."""

    alpha: Tensor
    """(B, m) coefficients of the samples, w = X^T alpha. They add up to 0, so shifting all samples changes nothing."""
    intercept: Tensor
    """(B,)"""


def fit(gram: Tensor, positive: Tensor, c: float = 1.0, iterations: int = 200) -> Fit:
    r"""Minimise :math:`\frac12 |w|^2 + C \sum_i \log(1 + e^{-y_i (w \cdot x_i + b)})` for each of B Gram matrices.

    This is the objective of scikit-learn's ``LogisticRegression(C=c)``: the intercept is not regularised. Solved by
    Newton's method (iteratively reweighted least squares) with step halving. A problem that has converged is not
    touched again, so its result does not depend on the others in the batch.

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
    if not gram.isfinite().all():
        raise XcoreError(
            "the inner products of the activations are not finite", "check whether the activations are too large"
        )
    b, m = gram.shape[0], gram.shape[1]
    y = (2 * positive.to(gram) - 1).expand(b, m)
    alpha, intercept, f = gram.new_zeros(b, m), gram.new_zeros(b), gram.new_zeros(b, m)

    def objective(alpha: Tensor, f: Tensor, rows: Tensor) -> Tensor:
        """Primal value; w.w = alpha K alpha = alpha (f - b), and alpha adds up to 0."""
        return c * softplus(-y[rows] * f).sum(1) + 0.5 * (alpha * f).sum(1)

    todo = torch.arange(b, device=gram.device)
    for _ in range(iterations):
        a, fr = alpha[todo], f[todo]
        # C (t - p), which alpha equals at the optimum, in a form that keeps its digits where p is close to t
        residual = c * y[todo] * torch.sigmoid(-y[todo] * fr)
        # alpha = s u with s = sqrt(C p (1 - p)) makes the Newton system well conditioned: (I + s K s) u = s z - s b
        s = (c * (torch.sigmoid(fr) * torch.sigmoid(-fr)).clamp_min(_CLIP)).sqrt()
        sz = s * fr + residual / s
        inner = gram if len(todo) == b else gram[todo]
        system = (s[:, :, None] * inner).mul_(s[:, None, :])
        system.diagonal(dim1=1, dim2=2).add_(1)
        factor = torch.linalg.cholesky_ex(system).L
        solved = torch.cholesky_solve(torch.stack((sz, s), 2), factor)
        bias = (s * solved[:, :, 0]).sum(1) / (s * solved[:, :, 1]).sum(1)
        step = s * (solved[:, :, 0] - bias[:, None] * solved[:, :, 1]) - a
        step_b = bias - intercept[todo]
        step_f = (inner @ step[:, :, None])[:, :, 0] + step_b[:, None]
        size = torch.ones_like(step_b)
        now = objective(a, fr, todo)
        for _ in range(_HALVINGS):
            new = objective(a + size[:, None] * step, fr + size[:, None] * step_f, todo)
            worse = ~(new <= now + 1e-12 * now.abs())
            if not worse.any():
                break
            size = torch.where(worse, size / 2, size)
        alpha[todo] = a + size[:, None] * step
        intercept[todo] = intercept[todo] + size * step_b
        f[todo] = fr + size[:, None] * step_f
        moved = size * step_f.abs().amax(1)
        # Newton converges quadratically: what a step this small leaves undone is below the rounding of the margins
        todo = todo[~(moved <= _SMALL * (1 + f[todo].abs().amax(1)))]
        if not len(todo):
            return Fit(alpha, intercept)
    raise XcoreError(f"{len(todo)} of {b} CAV fits did not converge in {iterations} steps")
