"""Seeds for everything that is drawn: one stream for each purpose, so that no two purposes share a drawing."""

from __future__ import annotations

import numpy as np

SPLIT, STEP, TIE, ADAPT, RANK, SHOW, FOLLOW, PICK, ASK = range(9)


def stream(seed: int, purpose: int, *place: int) -> np.random.Generator:
    """A random generator for a purpose at a place (step, set, ...) of a run."""
    return np.random.default_rng([seed, 1 + purpose, *place])


def seeds(n: int, seed: int, purpose: int, *place: int) -> list[int]:
    """n seeds for a generator's noise."""
    drawn: list[int] = stream(seed, purpose, *place).integers(2**62, size=n).tolist()
    return drawn
