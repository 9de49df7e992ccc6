"""What plugins are asked and how long they take (XCORE_TRACE=1), and at which of their lines an error arose."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path


def is_traced() -> bool:
    """Whether the user asks for a line about each call of a plugin."""
    return os.environ.get("XCORE_TRACE", "") not in ("", "0")


@contextlib.contextmanager
def traced(what: str) -> Iterator[None]:
    """Print to stderr how long something took, if the user asks for it."""
    if not is_traced():
        yield
        return
    began = time.perf_counter()
    ended = "failed"
    try:
        yield
        ended = "ok"
    finally:
        print(f"trace {1000 * (time.perf_counter() - began):8.1f} ms  {what}  {ended}", file=sys.stderr)


def at_line(error: BaseException, packages: Collection[str]) -> str:
    """Where an error arose in these packages, such as ``, at my_method.py:12``; empty if it did not pass through them.

    It is the last line of the traceback that an author of these packages can change. A syntax error names its own line.
    """
    return arisen(error, packages)[1]


def arisen(error: BaseException, packages: Collection[str]) -> tuple[str, str]:
    """The last of these packages that an error passed through, and where in it (see `at_line`); "" if it is none."""
    found = "", ""
    if isinstance(error, SyntaxError):
        return found
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if package in packages:
            path = Path(frame.f_code.co_filename)
            levels = module.count(".") + (2 if path.stem == "__init__" else 1)
            found = package, f", at {'/'.join(path.parts[-levels:])}:{line}"
    return found
