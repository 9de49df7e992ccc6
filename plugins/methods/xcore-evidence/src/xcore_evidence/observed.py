"""Evidence that is observed: the margin of a class, regressed on the presence of all phrases in samples of all classes.

It is an association, given the other named phrases; what nobody named can confound it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xcore.contract import Task
from xcore_evidence import ridge
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.margins import margin
from xcore_evidence.readings import Pool, pool_of, presence

PENALTY = 0.3
"""Default penalty: an uncorrelated phrase keeps three quarters of its coefficient. The penalty that predicts best is
weaker and ranks the phrases that a classifier is known to use worse; a stronger one marks unused phrases beside used
ones (docs/methods/surrogate.md)."""
POOL, CHOSEN = 2000, 400
"""Samples of all classes, and how many of them, the most different pictures, are used."""

SAYS = "association with the margin of the class, given the other phrases"
UNIT = "logits of the margin for one standard deviation of a phrase's presence"
UNREAD = 0.2
"""Spread of the presence, in hundredths of the cosine, below which a phrase is read alike in all pictures."""


def observed(
    task: Task,
    phrases: Sequence[str],
    *,
    pool: Pool | None = None,
    read: Tensor | None = None,
    size: int = POOL,
    chosen: int = CHOSEN,
    penalty: float | None = PENALTY,
    alpha: float = 0.05,
    minimum: float = 0.0,
) -> Evidence:
    """The evidence of samples of the data for all phrases jointly.

    Parameters
    ----------
    task
        Its classifier need only give logits. Pictures need a model of the role image-text.
    phrases
        k candidate phrases.
    pool
        The samples; None = drawn by `readings.pool_of` with `size` and `chosen`.
    read
        (n, k) presence of the phrases in the samples of the pool, if it was read already.
    penalty
        Strength of the ridge per sample; None = chosen by cross-validation.
    alpha
        Family-wise error rate of the marks of each side.
    minimum
        Least effect of a mark, as a share of the class's gap.

    Raises
    ------
    NotApplicable
        There are too few samples, the margin is the same for all of them, or there are no samples of other classes.
    """
    pool = pool or pool_of(task, size, chosen)
    read = presence(task, pool.samples, phrases) if read is None else read
    y = margin(task.classifier.logits(pool.samples), task.target)
    found = ridge.fit(read, y, penalty=penalty, seed=task.seed)
    gap = float(y[pool.of_class].mean() - y[~pool.of_class].mean())
    spread, inflation = read.std(0, correction=0), ridge.inflation(read)
    made = estimates(
        phrases,
        found.coefficients.tolist(),
        found.errors.tolist(),
        degrees=ridge.degrees_left(len(y), len(phrases)),
        ranges=ranges(read).tolist(),
        gap=gap,
        alpha=alpha,
        minimum=minimum,
        skews=found.skews.tolist(),
        details=[{"spread": float(s), "inflation": float(i)} for s, i in zip(spread, inflation, strict=True)],
    )
    same = tuple((phrases[i], phrases[j]) for i, j in ridge.alike(read))
    return Evidence(
        kind="observed",
        says=SAYS,
        unit=UNIT,
        estimates=made,
        n=len(y),
        gap=gap,
        explained=found.explained,
        penalty=found.penalty,
        alike=same,
        notes=(*pool.notes, *reading_notes(phrases, read, same, found.explained, pool.samples.modality)),
        covariance=plain(found.covariance),
        degrees=ridge.degrees_left(len(y), len(phrases)),
    )


def plain(covariance: Tensor) -> tuple[tuple[float, ...], ...]:
    """A covariance as `Evidence` keeps it."""
    return tuple(tuple(row) for row in covariance.tolist())


def ranges(read: Tensor) -> Tensor:
    """(k,) how far each phrase goes from rarely (10 %) to often (90 %) present, in standard deviations.

    A phrase that is in or out of a text goes from out to in, however rare it is.
    """
    z = ridge.standardised(read)
    in_or_out = torch.tensor([len(column.unique()) <= 2 for column in z.T])
    middle = torch.quantile(z, 0.9, dim=0) - torch.quantile(z, 0.1, dim=0)
    return torch.where(in_or_out, z.amax(0) - z.amin(0), middle)


def reading_notes(
    phrases: Sequence[str], read: Tensor, alike: Sequence[tuple[str, str]], explained: float, modality: str
) -> list[str]:
    """How well the phrases are read, which cannot be told apart, and how much of the margin they explain."""
    notes = [f"on samples that were left out, the phrases explain {max(explained, 0):.0%} of the margin's variance"]
    spread = read.std(0, correction=0)
    flat = [p for p, s in zip(phrases, spread, strict=True) if s < (1e-9 if modality == "text" else UNREAD)]
    if flat:
        where = "in no text or in all of them" if modality == "text" else "read alike in all pictures"
        notes.append(
            f"{len(flat)} of {len(phrases)} phrases are {where}, so that little can be said of them: {_few(flat)}"
        )
    if alike:
        notes.append(f"cannot be told apart in these samples: {_few([f'{a} / {b}' for a, b in alike])}")
    return notes


def _few(names: Sequence[str]) -> str:
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
