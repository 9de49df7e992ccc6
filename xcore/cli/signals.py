"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it holds is given back, and it says how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""
_OTHERS = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_received: list[int] = []


@contextmanager
def ending_like_an_interrupt() -> Iterator[None]:
    """Turn the first of these signals into a `KeyboardInterrupt`; a second one ends the process at once.

    A signal that is ignored stays so: `nohup` ignores SIGHUP.
    """
    _received.clear()
    before = {}
    if threading.current_thread() is threading.main_thread():  # only there signals can be handled
        for name in _OTHERS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code() -> int:
    """The exit code of a command that was interrupted: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + _received[0] if _received else INTERRUPTED


def by_signal() -> str:
    """By what a command was interrupted, in words."""
    return f" by {signal.Signals(_received[0]).name}" if _received else ""


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    _received.append(number)
    raise KeyboardInterrupt
