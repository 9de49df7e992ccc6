"""The engine `processes`: cells in several processes of this machine, each of which may end without harming the others.

A worker is started anew (spawn), so that it inherits no lock, no thread and no random state. It gets cells one by one
over a pipe, keeps what it has loaded, and is given cells of the classifier and class that it worked on last. When it
ends before its cell does, or is ended because the cell takes too long or too much memory, that cell is one failed row,
and another worker takes its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import MappingProxyType, ModuleType

from xcore.base.errors import UsageError, XcoreError
from xcore.base.memory import resident_mb
from xcore.contract.protocols import Limits, Work
from xcore.contract.types import Cell, Outcome
from xcore.run.engine_options import ProcessesOptions
from xcore.run.limits import too_long, too_much

TICK = 0.1
"""Seconds between two looks at what workers take, where there is a limit."""
STARTS = 3
"""How many workers in a row may end before they are ready."""
USUAL = 2
"""Workers where no number is asked for and there are cores for them."""
PATIENCE = 5.0
"""Seconds that workers get to end by themselves when there is nothing left to do."""
PR_SET_PDEATHSIG = 1
"""What Linux calls it in `sys/prctl.h`."""
READY, BEGAN = "ready", "began"
"""What a worker says beside outcomes."""


class Processes:
    """Runs cells in worker processes."""

    enforces = frozenset({"seconds", "memory_mb"})

    def __init__(self, options: ProcessesOptions) -> None:
        self.workers = options.workers

    def check(self, work: Work) -> None:
        """Raise `UsageError` if the workers that were asked for need more cores than this process may use."""
        if self.workers:
            refuse_more_than_cores(self.workers, work.threads)

    def run(self, cells: Iterable[Cell], work: Work) -> Iterator[Outcome]:
        """Run the cells; outcomes come as cells end."""
        queue = _Queue(cells)
        workers = self.workers or min(USUAL, max(1, usable_cores() // max(1, work.threads)))
        pool = [_Worker(work) for _ in range(min(workers, len(queue)))]
        try:
            yield from _serve(pool, queue, work)
        finally:
            for worker in pool:
                worker.dismiss()
            until = time.monotonic() + PATIENCE
            for worker in pool:
                worker.end(max(0.0, until - time.monotonic()))


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_more_than_cores(workers: int, threads: int) -> None:
    """Raise `UsageError` if workers with so many torch threads each need more cores than this process may use."""
    cores = usable_cores()
    if workers > 1 and workers * threads > cores:
        fewer = max(1, cores // workers), max(1, cores // threads)
        raise UsageError(
            f"{workers} workers with {threads} thread(s) each need {workers * threads} cores, and there are {cores}",
            f"choose fewer: --threads {fewer[0]}, or --set processes.workers={fewer[1]}",
        )


def _serve(pool: list[_Worker], queue: _Queue, work: Work) -> Iterator[Outcome]:
    """Hand out cells until each has an outcome; a worker that ends is replaced in the pool."""
    unready, took = 0, dict[str, float]()
    while queue or any(worker.cell for worker in pool):
        for worker in pool:
            if worker.ready and worker.cell is None and queue:
                others = [other for other in pool if other is not worker]
                so_far = {other.cell.label: other.seconds() for other in others if other.cell}
                worker.give(queue.take(worker.last, [other.last for other in others], {**so_far, **took}))
        limited = work.limits != Limits() and any(worker.cell for worker in pool)
        wait([item for worker in pool for item in (worker.pipe, worker.process.sentinel)], TICK if limited else None)
        for worker in list(pool):
            for outcome in worker.outcomes():
                took[outcome.cell.label] = worker.seconds()
                yield outcome
            reason = worker.over(work.limits)
            if worker.process.is_alive() and not reason:
                continue
            worker.end(0.0)
            yield from worker.outcomes()  # what it said before it ended
            unready = 0 if worker.ready else unready + 1
            if unready >= STARTS:
                how = worker.how_it_ended()
                raise XcoreError(f"no worker process can start: {how}", "run without --engine to see why")
            if worker.cell is not None and worker.began:
                yield work.lost(worker.cell, reason or worker.how_it_ended(), worker.seconds())
            elif worker.cell is not None:
                queue.put(worker.cell)
            pool.remove(worker)
            if len(queue) > sum(other.cell is None for other in pool):
                pool.append(_Worker(work))


@dataclass
class _Queue:
    """Cells that are left, by what a worker has to load for them (classifier, data and class), then by label."""

    cells: Iterable[Cell]
    _groups: dict[tuple[str, ...], dict[str, deque[Cell]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for cell in self.cells:
            self.put(cell)

    def put(self, cell: Cell) -> None:
        self._groups.setdefault(_group(cell), {}).setdefault(cell.label, deque()).append(cell)

    def __len__(self) -> int:
        return sum(map(self._left, self._groups))

    def _left(self, group: tuple[str, ...]) -> int:
        return sum(map(len, self._groups[group].values()))

    def take(
        self, last: tuple[str, ...], others: list[tuple[str, ...]], took: Mapping[str, float] = MappingProxyType({})
    ) -> Cell:
        """The next cell for a worker that worked on this group, while others work on theirs.

        Of its own group, if there is one left; else of a group that no other is on, of its own classifier if possible;
        else of the one with most cells left. In the group, the one of the label whose cells take longest, so that none
        is left to be waited for at the end (`took`: seconds of a label's last cell, or so far); labels of which
        nothing is known come before all.
        """
        if last not in self._groups:
            free = [group for group in self._groups if group not in others]
            same = [group for group in free if last and group[0] == last[0]]
            last = (same or free or [max(self._groups, key=self._left)])[0]
        labels = self._groups[last]
        label = max(labels, key=lambda label: took.get(label, inf))
        cell = labels[label].popleft()
        if not labels[label]:
            del labels[label]
        if not labels:
            del self._groups[last]
        return cell


def _group(cell: Cell) -> tuple[str, ...]:
    return cell.classifier.text, cell.data.text, cell.cls


class _Worker:
    """A worker process, seen from the engine."""

    def __init__(self, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work_on, args=(theirs, work), name="xcore")
        with _without_main():
            self.process.start()
        theirs.close()
        self.ready = self.began = False
        self.cell: Cell | None = None
        self.last: tuple[str, ...] = ()
        self._since = 0.0

    def give(self, cell: Cell) -> None:
        """Let it run a cell. One that has just ended never begins it."""
        self.cell, self.last, self.began, self._since = cell, _group(cell), False, time.monotonic()
        with contextlib.suppress(OSError):
            self.pipe.send(cell)

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes that it told since the last call."""
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                message = self.pipe.recv()
                if message == READY:
                    self.ready = True
                elif message == BEGAN:
                    self.began, self._since = True, time.monotonic()
                else:
                    self.cell = None
                    yield message

    def seconds(self) -> float:
        return time.monotonic() - self._since

    def over(self, limits: Limits) -> str:
        """Which limit its cell broke; "" = none."""
        if self.cell is None:
            return ""
        if limits.seconds is not None and self.seconds() > limits.seconds:
            return too_long(limits)
        if limits.memory_mb is not None and (taken := resident_mb(self.process.pid or 0)) > limits.memory_mb:
            return too_much(limits, taken)
        return ""

    def how_it_ended(self) -> str:
        return ending(self.process.exitcode)

    def dismiss(self) -> None:
        """Tell it that nothing is left to do; one that is in the middle of a cell is ended at once."""
        if self.cell is not None or not self.ready:
            self.process.kill()
        with contextlib.suppress(OSError):
            self.pipe.send(None)

    def end(self, patience: float) -> None:
        """End it, after so many seconds if it does not end by itself."""
        if patience:
            self.process.join(patience)
        self.process.kill()
        self.process.join()


def ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        more = ", as systems do when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{more}"
    return f"its process left with exit code {code}"


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Let a process that is started inside not run the user's script again, which spawn would do to find its names."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# -- in the worker -----------------------------------------------------------------------------------------------------
def _work_on(pipe: Connection, work: Work) -> None:
    """Run cells until there are none; what plugins print goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the engine ends us
    _be_killed_with_parent()
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe.send(READY)
    with contextlib.suppress(EOFError, OSError):
        while (cell := pipe.recv()) is not None:
            pipe.send(BEGAN)
            pipe.send(work(cell))


def _be_killed_with_parent() -> None:
    """Let the system end us with the engine's process: a thread cannot, while code of C holds the lock of Python."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_parent() -> None:
    """Leave at once when the engine's process has ended, however it did: the next run may begin at any moment."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
