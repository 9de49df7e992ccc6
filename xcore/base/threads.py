"""How long torch's threads spin while they wait for one another."""

from __future__ import annotations

import os
import sys
import warnings

SPIN = "1000"
"""Turns of the loop in which a thread of libgomp waits before it sleeps.

By default they are so many that threads in a small convolution spin away the time of every other process. None at all
(OMP_WAIT_POLICY=PASSIVE) makes an idle machine as slow as one thread. `docs/getting-started.md` has the figures.
"""
USERS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Environment variables by which users choose for themselves how long threads wait."""

_warned: list[bool] = []


def let_waiting_threads_sleep(warn: bool = True) -> None:
    """Shorten the spinning, unless the user chose otherwise; warn where torch is loaded already, if `warn`."""
    if any(name in os.environ for name in USERS):
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
        stacklevel=3,
    )
