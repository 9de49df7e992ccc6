"""Logits as a sum: few named attributes, and features of a layer through a low rank.

Y (n x C) = Z W + H U V^T. First the attributes Z alone are fitted to what the model predicts, sparsely. Then the
features H are fitted to what is left of the logits, by reduced-rank regression. Samples are cut into three parts: one
fits, one chooses the penalty and the rank, one reports.

Sources: after Ramaswamy et al., arXiv:2206.07690, which was recalled and not read, so that no figure is meant to equal
one of its own; Izenman, Journal of Multivariate Analysis 1975 (reduced-rank regression).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LogisticRegression
from torch import Tensor

from xcore.contract import NotApplicable
from xcore_evidence.ridge import standardised

Fitted = Literal["predictions", "logits"]
PARTS = (0.6, 0.2)
"""Shares of the samples that fit and that choose; the rest reports."""
PENALTIES: tuple[float, ...] = tuple(10 ** (-e / 4) for e in range(1, 10))
"""Penalties of the lasso that are tried, the strongest first, as shares of the one that leaves no attribute."""
STEPS = 500
"""Most passes of the solver of the multinomial lasso."""


@dataclass(frozen=True, eq=False)
class Additive:
    """The sum that was fitted, with the rank that was chosen."""

    weights: Tensor
    """(k, C) logits for one standard deviation of an attribute's presence; 0 for attributes that were left out."""
    u: Tensor
    """(d, r) weights of the features, none of them in the units of the layer."""
    v: Tensor
    """(C, r) weights of the r directions for the classes."""
    centre: Tensor
    """(d,) mean of the features in the samples that fit."""
    shares: list[float]
    """Share of the predictions of the reporting samples that are right: by attributes alone, with one direction, ..."""
    explained: list[float]
    """Share of the variance of their logits that is explained, in the same order; it may be negative."""
    commonest: float
    """Share that is right if the commonest prediction of the fitting samples is always told."""
    reporting: int
    """Number of samples that report."""
    penalty: float
    """Of the lasso, as a share of the one that leaves no attribute."""
    converged: bool
    """Whether the lasso came to its end."""

    @property
    def rank(self) -> int:
        """Number of directions that were chosen."""
        return self.u.shape[1]


def additive(
    read: Tensor,
    logits: Tensor,
    features: Tensor | None,
    *,
    fit: Fitted = "predictions",
    penalty: float | None = None,
    rank: int | None = None,
    most: int = 8,
    ridge: float = 0.01,
    seed: int = 0,
) -> Additive:
    """Fit logits as a sum of attributes and features.

    Parameters
    ----------
    read
        (n, k) presence of the attributes.
    logits
        (n, C). Only their differences between classes are looked at.
    features
        (n, d); None = there are none, and the rank is 0.
    fit, penalty, rank, most, ridge
        See `xcore_evidence.elude.options.EludeOptions`.
    seed
        Of the three parts.

    Raises
    ------
    NotApplicable
        The model predicts one class only, and predictions are fitted; or a logit is not finite.
    """
    if not logits.isfinite().all():
        raise NotApplicable("the classifier gives logits that are not finite", "look for such numbers in its weights")
    predicted, centred = logits.argmax(1), (logits - logits.mean(1, keepdim=True)).double()
    fitting, choosing, reporting = _parts(len(read), seed)
    if fit == "predictions" and len(predicted[fitting].unique()) < 2:
        raise NotApplicable(
            f"the classifier predicts one class only for the {len(fitting)} samples that fit",
            "fit its logits by --set elude.fit=logits, or name a data set with samples of other classes",
        )
    z = standardised(read)
    tried = list[tuple[float, float, Tensor, bool]]()
    for share, raw, converged in _lassos(z[fitting], centred[fitting], predicted[fitting], fit, penalty):
        right = _right(z[choosing] @ raw[:-1] + raw[-1], predicted[choosing])
        tried.append((right, share, raw, converged))
    _, share, raw, converged = tried[_first_near([right for right, *_ in tried], len(choosing))]
    # the fit to predictions has a scale of its own: one factor brings it to that of the logits
    named = z @ raw[:-1]
    named = named - named.mean(1, keepdim=True)
    factor = 1.0 if fit == "logits" else _factor(named[fitting], centred[fitting])
    shift = raw[-1] * factor - (raw[-1] * factor).mean()
    left = centred - factor * named - shift
    h = torch.zeros(len(read), 0, dtype=torch.float64) if features is None else features.double()
    centre = h[fitting].mean(0)
    h, offset = h - centre, left[fitting].mean(0)
    greatest = min(most if rank is None else rank, logits.shape[1], h.shape[1])
    u, v = _reduced(h[fitting], left[fitting] - offset, greatest, ridge)
    named = centred - left
    sums = [named, *(named + offset + h @ u[:, :r] @ v[:, :r].T for r in range(1, greatest + 1))]
    rights = [_right(s[choosing], predicted[choosing]) for s in sums]
    chosen = greatest if rank is not None else _first_near(rights, len(choosing))
    common = predicted[fitting].mode().values
    spread = (centred[reporting] - centred[fitting].mean(0)).pow(2).mean()
    return Additive(
        weights=factor * raw[:-1],
        u=u[:, :chosen],
        v=v[:, :chosen],
        centre=centre,
        shares=[_right(s[reporting], predicted[reporting]) for s in sums],
        explained=[float(1 - (centred - s)[reporting].pow(2).mean() / spread.clamp_min(1e-300)) for s in sums],
        commonest=float((predicted[reporting] == common).double().mean()),
        reporting=len(reporting),
        penalty=share,
        converged=converged,
    )


def _lassos(
    z: Tensor, centred: Tensor, predicted: Tensor, fit: Fitted, penalty: float | None
) -> Iterator[tuple[float, Tensor, bool]]:
    """Sparse fits, the sparsest first: (penalty as a share, (k + 1, C) weights and a last row of intercepts, whether
    the solver came to its end)."""
    n, classes = centred.shape
    x = z.numpy()
    given = torch.nn.functional.one_hot(predicted, classes).double() if fit == "predictions" else centred
    strongest = float((z.T @ (given - given.mean(0))).abs().max()) / n
    if strongest <= 0:
        raise NotApplicable("no attribute varies in these samples", "name phrases of which some pictures show more")
    model: Any = None
    for share in PENALTIES if penalty is None else (penalty,):
        weights = np.zeros((classes, z.shape[1] + 1))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always", ConvergenceWarning)
            if fit == "logits":
                for c in range(classes):
                    # without a seed of its own it would draw from that of numpy
                    model = Lasso(alpha=share * strongest, random_state=0).fit(x, centred[:, c].numpy())
                    weights[c] = [*model.coef_, model.intercept_]
            else:
                if model is None:
                    model = LogisticRegression(
                        l1_ratio=1, solver="saga", max_iter=STEPS, tol=1e-3, warm_start=True, random_state=0
                    )
                model.set_params(C=1 / (n * share * strongest)).fit(x, predicted.numpy())
                found = np.column_stack([model.coef_, model.intercept_])
                if len(found) == 1:  # of two classes scikit-learn gives the second alone
                    found = np.concatenate([-found, found]) / 2
                # a class that is never predicted must not win
                weights[:, -1] = found[:, -1].min() - 10
                weights[model.classes_] = found
        slow = any(issubclass(w.category, ConvergenceWarning) for w in seen)
        yield share, torch.from_numpy(weights).T.contiguous(), not slow


def _reduced(h: Tensor, left: Tensor, rank: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Reduced-rank ridge regression of what is left (n, C) on features (n, d): U (d, rank) and V (C, rank)."""
    n, d = h.shape
    if not rank:
        return torch.zeros(d, 0, dtype=h.dtype), torch.zeros(left.shape[1], 0, dtype=h.dtype)
    gram = h.T @ h / n
    added = ridge * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(d, dtype=h.dtype)
    cross = h.T @ left / n
    full = torch.linalg.solve(gram + added, cross)
    _, vectors = torch.linalg.eigh(cross.T @ full)
    v = vectors.flip(1)[:, :rank]
    return full @ v, v


def _factor(named: Tensor, centred: Tensor) -> float:
    """The factor by which the attributes' sum is nearest to the logits, both less their means; at least 0."""
    a, b = named - named.mean(0), centred - centred.mean(0)
    size = float((a * a).sum())
    return max(float((a * b).sum()) / size, 0.0) if size > 0 else 1.0


def _right(told: Tensor, predicted: Tensor) -> float:
    return float((told.argmax(1) == predicted).double().mean())


def _first_near(rights: Sequence[float], n: int) -> int:
    """The first share of n samples that is about as large as the largest: within one standard error of it."""
    best = max(rights)
    least = best - (best * (1 - best) / n) ** 0.5
    return next(i for i, right in enumerate(rights) if right >= least)


def _parts(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the samples that fit, choose and report."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    first, second = round(PARTS[0] * n), round((PARTS[0] + PARTS[1]) * n)
    return order[:first], order[first:second], order[second:]
