"""How this process, and those that it starts, use the machine: how long threads wait, and what becomes of memory.

Both are read by libraries in C from the environment when a process starts, so that what is set here holds for every
process that is started later, too.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

SPIN = "1000"
"""Turns of the loop in which a thread of libgomp waits before it sleeps.

By default they are so many that threads in a small convolution spin away the time of every other process. None at all
(OMP_WAIT_POLICY=PASSIVE) makes an idle machine as slow as one thread. `docs/getting-started.md` has the figures.
"""
SPIN_USERS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Environment variables by which users choose for themselves how long threads wait."""

KEPT = 2**30, 2**25
"""Bytes up to which memory is taken from the heap, and up to which what is free at its end stays with the process.

By default, each tensor above 32 MB is mapped anew and given back at once, so that the kernel must clear every page of
it again: a forward pass of 32 photographs spent more than half of its time on that (`docs/performance.md`). The second
value is for versions of glibc that refuse the first.
"""
KEPT_USERS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")
"""Environment variables by which users choose for themselves what becomes of freed memory."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_warned: list[bool] = []


def prepare(warn: bool = True) -> None:
    """Let waiting threads sleep and keep freed memory, unless the user chose otherwise.

    Parameters
    ----------
    warn
        Warn where torch is loaded already, so that its threads cannot be told any more.
    """
    _keep_freed_memory()
    _let_waiting_threads_sleep(warn)


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Give an environment variable a value inside the block, for libraries that can be told in no other way."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _keep_freed_memory() -> None:
    """Let the allocator of glibc keep what tensors free, for the next ones; other allocators are left as they are."""
    if sys.platform != "linux" or any(name in os.environ for name in KEPT_USERS):
        return
    import ctypes  # here, since it is not needed where users chose

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    for size in KEPT:
        if mallopt is not None and mallopt(_M_MMAP_THRESHOLD, size):
            mallopt(_M_TRIM_THRESHOLD, size)
            os.environ["MALLOC_MMAP_THRESHOLD_"] = os.environ["MALLOC_TRIM_THRESHOLD_"] = str(size)
            return


def _let_waiting_threads_sleep(warn: bool) -> None:
    if any(name in os.environ for name in SPIN_USERS):
        return
    if "torch" not in sys.modules:
        os.environ["GOMP_SPINCOUNT"] = SPIN
        return
    if not warn or _warned:
        return
    _warned.append(True)  # once: what happens to later calls is the same
    warnings.warn(
        "torch was imported before xcore was first called, so its threads spin for long while they wait, which slows "
        f"down everything on a busy machine. To avoid it, set GOMP_SPINCOUNT={SPIN} before Python starts.",
        stacklevel=4,
    )
