"""A guard around foreign code: the global random states are seeded inside it and left as found behind it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def seeded(seed: int, threads: int | None = None) -> Iterator[None]:
    """Seed Python's, numpy's and torch's global generators, and restore them (and the thread count) afterwards.

    Parameters
    ----------
    seed
        The seed; the same for all three.
    threads
        torch threads inside the guard: another reduction order can flip one preference of a method.
    """
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    before = torch.get_num_threads()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)  # the same; torch.manual_seed tells devices, too, and is slow at it
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(before)


@cache
def _has_accelerator() -> bool:
    """Whether torch may have another device than the processor in this process; before version 2.6 nobody can say."""
    import torch

    return not hasattr(torch, "accelerator") or bool(torch.accelerator.is_available())
