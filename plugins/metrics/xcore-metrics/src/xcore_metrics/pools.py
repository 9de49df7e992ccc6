"""Samples of all classes: some of the explained class, and those of a random set."""

from __future__ import annotations

from xcore.contract import NotApplicable, RandomSet, Run, Samples

FEWEST = 10
"""Least number of samples of other classes."""


def of_other_classes(random_set: RandomSet, n: int) -> Samples:
    """The first random set of n samples, or of n / 2, n / 4, ... where its pool has no more.

    Raises
    ------
    NotApplicable
        The pool has fewer than `FEWEST` samples.
    """
    while True:
        try:
            return random_set(n, 0, "as-is")
        except NotApplicable:  # the set is larger than the pool
            n //= 2
            if n < FEWEST:
                raise


def heldout_pool(run: Run, others: int) -> Samples:
    """Held-out samples of all classes: those of other classes, and as many of the explained class as of each other."""
    return _pool(run, run.heldout, run.heldout_random_set, others)


def training_pool(run: Run, others: int) -> Samples:
    """The same of samples that methods may see: explained ones, and training samples of the other classes."""
    return _pool(run, run.task.samples, run.task.random_set, others)


def _pool(run: Run, own: Samples, random_set: RandomSet, others: int) -> Samples:
    rest = of_other_classes(random_set, others)
    classes = max(1, len(run.task.data.classes) - 1)
    share = max(1, round(len(rest) / classes))
    return Samples.concat([own.take(slice(share)), rest])
