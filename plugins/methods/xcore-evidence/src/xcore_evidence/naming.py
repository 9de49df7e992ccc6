"""Names for concepts that a method found without words: phrases that go with the strength of a concept, in context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from xcore.contract import Samples, Task
from xcore_evidence import ridge
from xcore_evidence.estimates import Estimate, estimates
from xcore_evidence.observed import CHOSEN, PENALTY, POOL, ranges
from xcore_evidence.readings import pool_of, presence


@dataclass(frozen=True)
class Named:
    """The phrases that go with one concept."""

    phrases: tuple[Estimate, ...]
    """Those that are marked, the surest first. An effect is in standard deviations of the concept's strength, for one
    standard deviation of the phrase's presence, given the other phrases."""
    explained: float
    """Share of the variance of the concept's strength that all phrases explain on samples that were left out."""


def names(
    task: Task,
    strength_of: Callable[[Samples], Tensor],
    phrases: Sequence[str],
    *,
    most: int = 3,
    size: int = POOL,
    chosen: int = CHOSEN,
    alpha: float = 0.05,
) -> list[Named]:
    """The phrases whose presence goes with the strength of each concept, in samples of all classes.

    Parameters
    ----------
    strength_of
        Samples -> (n, c) strength of c concepts; NaN for a concept that cannot be found again.
    phrases
        Candidates.
    most
        Greatest number of phrases of a concept.
    size, chosen
        See `readings.pool_of`.
    alpha
        Family-wise error rate for each concept.

    Returns
    -------
    One for each concept. One that is equally strong everywhere, or cannot be found again, has no phrases.
    """
    pool = pool_of(task, size, chosen)
    read = presence(task, pool.samples, phrases)
    degrees, width = ridge.degrees_left(len(read), len(phrases)), ranges(read).tolist()
    found = []
    for column in strength_of(pool.samples).double().T:
        spread = float(column.std(correction=0))
        if not column.isfinite().all() or spread <= 0:
            found.append(Named((), 0.0))
            continue
        fit = ridge.fit(read, column / spread, penalty=PENALTY, seed=task.seed)
        made = estimates(
            phrases,
            fit.coefficients.tolist(),
            fit.errors.tolist(),
            degrees=degrees,
            ranges=width,
            gap=1.0,
            alpha=alpha,
            skews=fit.skews.tolist(),
        )
        marked = sorted((e for e in made if e.mark > 0), key=lambda e: -e.t)
        found.append(Named(tuple(marked[:most]), fit.explained))
    return found
