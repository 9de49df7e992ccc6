"""Ridge regression with a penalty by cross-validation, robust standard errors, and diagnostics of the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xcore.contract import NotApplicable

PENALTIES: tuple[float, ...] = tuple(10 ** (e / 4) for e in range(-12, 5))
"""Penalties that cross-validation chooses from, per row: 0.001 to 10, four in a decade."""

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Fit:
    """A regression of one response on k columns."""

    coefficients: Tensor
    """(k,) change of the response for one standard deviation of a column, the other columns held fixed."""
    errors: Tensor
    """(k,) standard errors that hold under unequal variances (HC3), also if rows of a group go together (CR3)."""
    penalty: float
    explained: float
    """Share of the response's variance explained on rows that were left out, at most 1; below 0 it is worse than the
    mean. The penalty is chosen anew without these rows."""
    n: int
    skews: Tensor
    """(k,) skewness of each coefficient, in standard errors, from that of the residuals, which the rows share; that
    rows of a group go together is not heeded in it."""
    covariance: Tensor
    """(k, k) joint covariance of the coefficients, of the same kind as the errors, whose squares are its diagonal."""


def standardised(x: Tensor) -> Tensor:
    """Columns (n, k) with mean 0 and standard deviation 1, in double precision; a constant column becomes zeros."""
    x = x.double()
    centred = x - x.mean(0)
    spread = centred.pow(2).mean(0).sqrt()
    constant = spread <= 1e-12 * x.abs().amax(0).clamp_min(1)
    return torch.where(constant, torch.zeros_like(centred), centred / spread.clamp_min(1e-300))


def fit(
    x: Tensor, y: Tensor, *, penalty: float | None = None, groups: Sequence[int] | None = None, seed: int = 0
) -> Fit:
    """Regress y on the standardised columns of x.

    Parameters
    ----------
    x
        (n, k) columns, as they were measured.
    y
        (n,) response.
    penalty
        Strength of the ridge per row, above 0; None = chosen by cross-validation: the largest one whose error is within
        one standard error of the smallest, since a weaker one has no better claim.
    groups
        (n,) group of each row; rows of a group, such as edits of one picture, are left out together, and their errors
        may go together. None = each row is a group of its own.
    seed
        Of the assignment of groups to folds.

    Raises
    ------
    NotApplicable
        There are fewer than ten groups, or the response is constant.

    References
    ----------
    Hoerl and Kennard, Ridge Regression, Technometrics 1970; MacKinnon and White, Journal of Econometrics 1985 (HC3);
    Bell and McCaffrey, Survey Methodology 2002 (CR3, here without the factor (groups - 1) / groups).
    """
    z, y = standardised(x), y.double()
    independent = len(set(groups or range(len(y))))
    if independent < 2 * FOLDS:
        raise NotApplicable(
            f"a regression needs at least {2 * FOLDS} samples that are independent, and there are {independent}",
            "give more samples to choose from",
        )
    if float(y.std(correction=0)) <= 1e-9 * max(1.0, float(y.abs().max())):
        raise NotApplicable(
            "the classifier gives the same margin to every sample, so there is nothing to explain",
            "check that its weights were loaded, and that its pictures have the scale that it was trained with",
        )
    folds = _folds(len(y), groups, seed)
    chosen = penalty if penalty is not None else _best_penalty(z, y, folds)
    residual = torch.zeros_like(y)
    for fold in range(FOLDS):
        out = folds == fold
        inner = penalty if penalty is not None else _best_penalty(z[~out], y[~out], _refolded(folds[~out], fold))
        residual[out] = y[out] - _predicted(z[~out], y[~out], z[out], [inner])[:, 0]
    explained = 1 - float(residual.pow(2).mean() / (y - y.mean()).pow(2).mean())
    coefficients, covariance, skews = _robust(z, y - y.mean(), chosen, groups)
    errors = covariance.diagonal().clamp_min(0).sqrt()
    return Fit(coefficients, errors, chosen, explained, len(y), skews, covariance)


def degrees_left(n: int, k: int, what: str = "samples") -> int:
    """Degrees of freedom that n rows leave beside k columns and the mean.

    Parameters
    ----------
    what
        What the rows are, for the message.

    Raises
    ------
    NotApplicable
        Fewer than ten are left.
    """
    if n - k - 1 < 10:
        raise NotApplicable(
            f"{n} {what} are too few for {k} phrases: at least {k + 11} are needed",
            f"name fewer phrases, or ask for more {what}",
        )
    return n - k - 1


def directions(x: Tensor, activations: Tensor, penalty: float) -> Tensor:
    """(k, d) joint ridge coefficients of activations (n, d) on the standardised columns of x (n, k)."""
    z = standardised(x)
    a = (activations - activations.mean(0)).double()
    gram = z.T @ z / len(z) + penalty * torch.eye(z.shape[1], dtype=z.dtype)
    solved: Tensor = torch.linalg.solve(gram, z.T @ a / len(z))
    return solved


def inflation(x: Tensor) -> Tensor:
    """(k,) variance inflation factor of each column given all the others, at least 1; inf where they determine it."""
    z = standardised(x)
    correlation = z.T @ z / len(z)
    constant = correlation.diagonal() < 0.5
    correlation[constant, constant] = 1.0
    inverse = torch.linalg.pinv(correlation, hermitian=True)
    factors: Tensor = inverse.diagonal().clone()
    if torch.linalg.matrix_rank(correlation, hermitian=True) < len(correlation):
        own = (torch.eye(len(correlation), dtype=z.dtype) - inverse @ correlation).diagonal().abs() > 1e-6
        factors[own] = torch.inf
    return factors.clamp_min(1.0)


def alike(x: Tensor, least: float = 0.95) -> list[tuple[int, int]]:
    """Pairs of columns that cannot be told apart: their correlation is at least `least` in size."""
    z = standardised(x)
    correlation = (z.T @ z / len(z)).abs()
    return [(int(i), int(j)) for i, j in (torch.triu(correlation, 1) >= least).nonzero().tolist()]


def _robust(z: Tensor, y: Tensor, penalty: float, groups: Sequence[int] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients, their robust covariance (HC3, of groups CR3), and their skewness, for a centred response."""
    n, k = z.shape
    inverse = torch.linalg.inv(z.T @ z + penalty * n * torch.eye(k, dtype=z.dtype))
    solve = inverse @ z.T
    b = solve @ y
    # the mean is a parameter too, with a leverage of 1 / n
    leverage = ((z @ inverse) * z).sum(1) + 1 / n
    residual = y - z @ b
    if groups is None:
        moved = solve * (residual / (1 - leverage))
    else:
        moved = torch.stack([_moved(z[rows], inverse, residual[rows], n) for rows in _rows(groups)], 1)
    covariance = moved @ moved.T
    skews = solve.pow(3).sum(1) / solve.pow(2).sum(1).clamp_min(1e-300) ** 1.5
    return b, covariance, skews * _skewness(residual / (1 - leverage).sqrt())


def _moved(z: Tensor, inverse: Tensor, residual: Tensor, n: int) -> Tensor:
    """(k,) how far the rows of one group move the coefficients: what leaving it out changes, if there is no penalty."""
    hat = z @ inverse @ z.T + 1 / n
    found: Tensor = inverse @ z.T @ torch.linalg.solve(torch.eye(len(z), dtype=z.dtype) - hat, residual)
    return found


def _rows(groups: Sequence[int]) -> list[list[int]]:
    """The rows of each group."""
    found: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        found.setdefault(group, []).append(row)
    return list(found.values())


def _skewness(values: Tensor) -> Tensor:
    centred = values - values.mean()
    found: Tensor = centred.pow(3).mean() / centred.pow(2).mean().clamp_min(1e-300) ** 1.5
    return found


def _best_penalty(z: Tensor, y: Tensor, folds: Tensor) -> float:
    errors = []
    for fold in folds.unique().tolist():
        out = folds == fold
        predicted = _predicted(z[~out], y[~out], z[out], PENALTIES)
        errors.append((y[out, None] - predicted).pow(2).mean(0))
    by_fold = torch.stack(errors)
    mean, error = by_fold.mean(0), by_fold.std(0) / len(by_fold) ** 0.5
    best = int(mean.argmin())
    within = (mean <= mean[best] + error[best]).nonzero().flatten()
    return PENALTIES[int(within.max())]


def _predicted(z: Tensor, y: Tensor, new: Tensor, penalties: Sequence[float]) -> Tensor:
    """(rows of new, penalties) predictions of ridge regressions of y on z."""
    centre, mean = z.mean(0), y.mean()
    z, new = z - centre, new - centre
    values, vectors = torch.linalg.eigh(z.T @ z / len(z))
    moved = vectors.T @ (z.T @ (y - mean)) / len(z)
    shrunk = torch.stack([moved / (values.clamp_min(0) + p) for p in penalties], 1)
    predicted: Tensor = mean + new @ vectors @ shrunk
    return predicted


def _folds(n: int, groups: Sequence[int] | None, seed: int) -> Tensor:
    """(n,) fold of each row, groups kept together."""
    of = np.unique(np.asarray(groups if groups is not None else range(n)), return_inverse=True)[1]
    order = np.random.default_rng([seed, 71]).permutation(of.max() + 1)
    return torch.from_numpy(order[of] % FOLDS)


def _refolded(folds: Tensor, left_out: int) -> Tensor:
    """The folds that are left, counted without a gap."""
    return torch.where(folds > left_out, folds - 1, folds)
