"""A command ends although a plugin left a thread that does not."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

PATIENCE = 30.0
"""Seconds that threads get to end by themselves when there is nothing left to do."""


@contextmanager
def leaving_threads_behind() -> Iterator[None]:
    """See to it that the process ends soon after the block, whatever threads run on then.

    Python itself waits for all threads that are no daemons, for ever if need be.
    """
    code: object = 1
    try:
        yield
        code = 0
    except SystemExit as left:
        code = left.code
        raise
    finally:
        left_behind = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
        if left_behind:
            over = threading.Event()
            atexit.register(over.set)  # which Python calls when it has waited for the threads
            what = left_behind, over, code if isinstance(code, int) else int(code is not None)
            threading.Thread(target=_end, args=what, daemon=True).start()


def _end(left_behind: Sequence[threading.Thread], over: threading.Event, code: int) -> None:
    threading.main_thread().join()
    if not over.wait(PATIENCE):
        names = ", ".join(thread.name for thread in left_behind if thread.is_alive())
        print(f"xcore: it ends although threads of a plugin run on: {names}", file=sys.stderr, flush=True)
        os._exit(code)
