"""Memory: how much this process took, and errors of a device or machine that ran out of it as one line that says what
to do."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from xcore.base.errors import message_of

SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "unable to allocate")


def out_of_memory(error: BaseException) -> str:
    """The line for an error that tells of missing memory; "" for any other.

    Libraries raise different errors for it, so that their words are read.
    """
    said = message_of(error)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if not kinds & {"OutOfMemoryError", "MemoryError"} and not any(sign in said.lower() for sign in SIGNS):
        return ""
    first = said.partition("\n")[0].partition(". ")[0] or type(error).__name__
    return (
        f"out of memory: {first} (let fewer samples pass through the classifier at once with --batch-size N, e.g. 8; "
        "generators and helper models have an option batch_size of their own, see `xcore show`)"
    )


def peak_mb() -> float:
    """The largest memory of this process so far, in MB (2**20 bytes)."""
    # Linux counts in getrusage also what the process held that began this one.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def resident_mb(pid: int) -> float:
    """The memory that a process holds now, in MB (2**20 bytes); 0 if it has ended, or if nobody can tell."""
    with suppress(OSError):
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
    if sys.platform == "darwin":
        with suppress(OSError, ValueError):
            told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
            return int(told.stdout) / 1024
    return 0.0
