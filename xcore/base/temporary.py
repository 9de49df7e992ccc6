"""Temporary folders that do not outlive their process for long: what a killed one left, the next one removes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

if sys.platform != "win32":  # there, nothing is removed
    import fcntl

PREFIX = "xcore-"
ALIVE = ".alive"
"""A file that the process of a folder keeps locked. The system gives the lock back, however the process ends."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder for as long as the block runs.

    Folders of processes that were killed, and of no others, are removed first.
    """
    _remove_stale_once()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    handle = _mark(folder)
    try:
        (folder / "work").mkdir()
        yield folder / "work"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def remove_stale() -> None:
    """Remove the temporary folders of this user whose process is gone."""
    if sys.platform == "win32":
        return
    for mark in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{ALIVE}"):
        with suppress(OSError):  # it is locked, somebody else's, or gone meanwhile
            handle = os.open(mark, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == mark.parent.lstat().st_uid == os.getuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(mark.parent, ignore_errors=True)
            finally:
                os.close(handle)


_remove_stale_once = cache(remove_stale)


def _mark(folder: Path) -> int | None:
    """Lock a file in a new folder; it has its name only when it is locked."""
    if sys.platform == "win32":
        return None
    handle, made = tempfile.mkstemp(dir=folder)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.rename(made, folder / ALIVE)
    return handle
