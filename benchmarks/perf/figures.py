"""The figures of a row of `everything.py`, and the memory of a process. Nothing heavy is imported here."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from math import nan
from pathlib import Path
from typing import Any

from xcore.base.memory import peak_mb

FIGURES = "XCORE_PERF_FIGURES"
"""Environment variable: the file that `note` adds to."""
_largest = [0.0]
"""The largest memory of the process in MB, before the system last forgot it."""


def note(part: str, *, ours: float, floor: float = nan, peer: float = nan) -> None:
    """Hand the seconds of a part of a row to `everything.py`, if that runs this."""
    if path := os.environ.get(FIGURES):
        memory = max(peak_mb(), *_largest)
        figures: dict[str, Any] = {"part": part, "ours": ours, "floor": floor, "peer": peer, "memory": memory}
        with Path(path).open("a") as file:
            file.write(json.dumps(figures) + "\n")


def noted(path: Path) -> Sequence[dict[str, Any]]:
    """What `note` kept in a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def forget_peak() -> bool:
    """Let the system forget the largest memory of this process; False where it cannot."""
    with suppress(OSError):
        _largest[0] = max(peak_mb(), *_largest)
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False
