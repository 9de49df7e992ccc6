"""A process that ends itself when its cell breaks a limit, for engines that cannot end a process from outside.

Both watchers leave a note beside the run, so that the engine's own process can say why the cell was lost. That of the
time is a thread of `faulthandler` that needs no lock of Python, so that it ends loops in any code; that of memory is
a thread of Python, which waits while code of C holds that lock.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from xcore.base.memory import resident_mb
from xcore.contract.protocols import Limits

TICK = 0.1
"""Seconds between two looks at the memory."""


def too_long(limits: Limits) -> str:
    """The reason of a cell that took too long."""
    return f"it took longer than {limits.seconds:g} s (--cell-timeout)"


def too_much(limits: Limits, taken: float) -> str:
    """The reason of a cell whose process took too much memory, in MB."""
    return f"its process took {taken:.0f} MB, more than {limits.memory_mb} MB (--cell-memory)"


@contextlib.contextmanager
def keeping(limits: Limits, note: Path) -> Iterator[None]:
    """End this process, with a note, when what happens inside breaks a limit."""
    if limits == Limits():
        yield
        return
    note.parent.mkdir(exist_ok=True)
    over = threading.Event()
    with note.open("w", encoding="utf-8") as file:
        if limits.seconds is not None:
            faulthandler.dump_traceback_later(limits.seconds, exit=True, file=file)
        if limits.memory_mb is not None:
            threading.Thread(target=_watch_memory, args=(limits.memory_mb, file, over), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            faulthandler.cancel_dump_traceback_later()
    note.unlink(missing_ok=True)


def _watch_memory(limit: int, file: TextIO, over: threading.Event) -> None:
    while not over.wait(TICK):
        if (taken := resident_mb(os.getpid())) > limit:
            file.write(f"memory {taken:.0f}")
            file.flush()
            os._exit(1)


def broken(limits: Limits, note: Path) -> str:
    """Why a process ended itself, by the note that it left; "" if it left none."""
    try:
        text = note.read_text(encoding="utf-8", errors="replace")
        note.unlink()
    except OSError:
        return ""
    if text.startswith("memory "):
        return too_much(limits, float(text.split()[1]))
    return too_long(limits) if text else ""
