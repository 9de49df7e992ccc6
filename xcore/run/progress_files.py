"""What a run tells while it goes on: small files below RUN/live/, which any terminal can read (see `xcore watch`).

::

    RUN/live/run.json                  cells done, failures, when it began, whether it has ended
    RUN/live/worker-<host>-<pid>.json  what a process is doing

Each file is replaced whole. None is synced to the disk, and one that cannot be written is left: they tell of the run,
and nothing depends on them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xcore.contract.types import Cell, Outcome
from xcore.run.progress import Reporter, describe

LIVE = "live"
RUN = "run.json"
EVERY = 0.5
"""Seconds between two steps of a cell that are written."""
FAILURES = 50
"""How many failures are kept, the last ones."""


class Tells(Reporter):
    """Writes what this process is doing once a run has begun, and tells another reporter everything.

    Parameters
    ----------
    begun
        Whether the run has begun, as it has where another process plans it.
    """

    def __init__(self, inner: Reporter, root: Path, begun: bool = False) -> None:
        self.inner, self.live, self._begun = inner, inner.live, begun
        self._file = root / LIVE / f"worker-{socket.gethostname()}-{os.getpid()}.json"
        self._about: dict[str, Any] = {}
        self._last = 0.0

    def begin(self, cells: int, finished: int) -> None:
        self._begun = True
        self.inner.begin(cells, finished)

    def begin_cell(self, cell: Cell) -> None:
        self.inner.begin_cell(cell)
        self._tell({"cell": describe(cell), "doing": "explaining", "began": time.time()})

    def step(self, step: int, total: int, note: str = "") -> None:
        self.inner.step(step, total, note)
        if time.monotonic() - self._last >= EVERY:
            self._tell({**self._about, "step": step, "total": total, "note": note})

    def end_cell(self, outcome: Outcome) -> None:
        self._about = {}
        self.inner.end_cell(outcome)

    def note(self, text: str) -> None:
        self.inner.note(text)
        self._tell({"cell": self._about.get("cell", ""), "began": self._about.get("began", time.time()), "doing": text})

    def warn(self, text: str) -> None:
        self.inner.warn(text)

    def rest(self) -> None:
        """Tell that the process does nothing now."""
        self._about = {}
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _tell(self, about: dict[str, Any]) -> None:
        self._about, self._last = about, time.monotonic()
        if self._begun:
            _replace(
                self._file, {**about, "process": os.getpid(), "host": socket.gethostname(), "updated": time.time()}
            )


class RunFile:
    """Writes how far the whole run is; for the process that plans."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._about: dict[str, Any] = {}

    def begin(self, cells: int, finished: int, engine: str) -> None:
        """The run begins: what an earlier one told is removed."""
        with contextlib.suppress(OSError):
            (self._root / LIVE).mkdir(exist_ok=True)
            for file in (self._root / LIVE).glob("worker-*.json"):
                file.unlink(missing_ok=True)
        counts = {"ok": 0, "failed": 0, "skipped": 0}
        self._about = {"cells": cells, "finished": finished, **counts, "failures": [], "engine": engine}
        self._about |= {"began": time.time(), "process": os.getpid(), "host": socket.gethostname(), "ended": ""}
        self._tell()

    def end_cell(self, outcome: Outcome, cells: int) -> None:
        """A cell is done; it counts as so many, which differ from it in their label only."""
        self._about[outcome.status] = self._about.get(outcome.status, 0) + cells
        if outcome.status == "failed":
            self._fail(f"{describe(outcome.cell)}: {outcome.reason}")
        self._tell()

    def fail(self, line: str) -> None:
        """Something beside a cell failed, such as a score."""
        self._fail(line)
        self._tell()

    def _fail(self, line: str) -> None:
        self._about["failures"] = [*self._about["failures"], line][-FAILURES:]
        self._about["failed_in_all"] = self._about.get("failed_in_all", 0) + 1

    def end(self, how: str) -> None:
        """The run has ended: "done", "stopped", "interrupted" or "failed"."""
        if self._about:
            self._about["ended"] = how
            self._tell()

    def _tell(self) -> None:
        _replace(self._root / LIVE / RUN, {**self._about, "updated": time.time()})


def _replace(file: Path, about: Mapping[str, Any]) -> None:
    temporary = file.with_name(f".writing-{file.name}")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")
        temporary.replace(file)


@contextlib.contextmanager
def told(file: RunFile) -> Iterator[None]:
    """Write how what happens inside ends, if nobody wrote it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        file.end("interrupted")
        raise
    except BaseException:
        file.end("failed")
        raise


# -- reading ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Doing:
    """What a process of a run is doing."""

    cell: str
    doing: str
    seconds: float
    """Since it began the cell."""
    step: int = 0
    total: int = 0
    note: str = ""
    where: str = ""
    """Host and process."""


@dataclass(frozen=True)
class Live:
    """How far a run is."""

    cells: int
    done: int
    """With those that were finished before it began."""
    counts: Mapping[str, int]
    """Status -> cells of this start of the run."""
    seconds: float
    """Since it began, or as long as it took."""
    left: float | None
    """Seconds that the other cells will take, if they take what those of this start took; None = nobody knows yet."""
    state: str
    """"running", "done", "stopped", "interrupted", "failed", or "gone": its process is not there any more."""
    failures: Sequence[str] = ()
    failed_in_all: int = 0
    workers: Sequence[Doing] = field(default_factory=tuple)


def read_live(root: Path) -> Live | None:
    """What a run told last; None if it told nothing, as one of an older version."""
    about = _read(root / LIVE / RUN)
    if about is None:
        return None
    try:
        counts = {status: int(about[status]) for status in ("ok", "failed", "skipped")}
        state = str(about["ended"]) or ("running" if _is_there(about) else "gone")
        new = sum(counts.values())
        cells, done = int(about["cells"]), int(about["finished"]) + new
        until = time.time() if state == "running" else float(about["updated"])
        seconds = max(0.0, until - float(about["began"]))
        left = seconds / new * (cells - done) if new and state == "running" else None
        workers = _workers(root) if state == "running" else []
        failures = [str(line) for line in about["failures"]]
        in_all = int(about.get("failed_in_all", 0))
    except (KeyError, TypeError, ValueError):  # of another version
        return None
    return Live(cells, done, counts, seconds, left, state, failures, in_all, workers)


def _workers(root: Path) -> list[Doing]:
    found = []
    for file in sorted((root / LIVE).glob("worker-*.json")):
        about = _read(file)
        if about is None or not _is_there(about):
            continue
        with contextlib.suppress(KeyError, TypeError, ValueError):
            steps = int(about.get("step", 0)), int(about.get("total", 0))
            where = f"{about['host']} {about['process']}"
            seconds = max(0.0, time.time() - float(about["began"]))
            found.append(
                Doing(str(about["cell"]), str(about["doing"]), seconds, *steps, str(about.get("note", "")), where)
            )
    return found


def _is_there(about: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this runs. One on another machine counts as running: nobody here knows."""
    if about.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(about["process"]), 0)
    except ProcessLookupError:
        return False
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return True
    return True


def _read(file: Path) -> dict[str, Any] | None:
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None
