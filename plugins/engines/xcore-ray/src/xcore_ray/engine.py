"""Cells as tasks of Ray.

The work goes into Ray's object store once, and each process of Ray makes from it what it needs and keeps it for its
next cell. Ray itself runs nothing again: a cell whose process ended is a failed row, and only one whose machine was
lost is run again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

from xcore.contract import Cell, Outcome, Work
from xcore_ray.options import RayOptions

LOOK = 1.0
"""Seconds until we look again whether we are interrupted, where nothing happens."""
PASSED_ON = ("XCORE_", "HF_", "TRANSFORMERS_", "MKL_", "OPENBLAS_", "TOKENIZERS_")
"""What the names of environment variables begin with that processes elsewhere need, too."""


class RayEngine:
    """Runs cells on one machine or on a cluster."""

    enforces = frozenset({"seconds", "memory_mb"})

    def __init__(self, options: RayOptions) -> None:
        self.options = options

    def run(self, cells: Iterable[Cell], work: Work) -> Iterator[Outcome]:
        """Run the cells; outcomes come as cells end."""
        import ray

        begun = not ray.is_initialized()
        if begun:
            self._begin(ray, work)
        try:
            with contextlib.closing(_Running(ray, self.options, work)) as running:
                yield from running.outcomes(cells)
        finally:
            if begun:
                ray.shutdown()

    def _begin(self, ray: Any, work: Work) -> None:
        """Join the cluster, or begin one of our own on this machine."""
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        # Ray would set it to the CPUs that it counts; libraries beside torch are to have what they would have here.
        passed["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
        own = (
            {} if self.options.address else {"num_cpus": self.options.cluster_cpus or None, "include_dashboard": False}
        )
        ray.init(
            address=self.options.address or "local",
            log_to_driver=False,
            logging_level="error",
            runtime_env={"env_vars": passed},
            **({} if self.options.address else own),
        )
        for number, handler in handlers.items():  # those of Ray end this process without a word
            signal.signal(number, handler)


class _Running:
    """The tasks of one run."""

    def __init__(self, ray: Any, options: RayOptions, work: Work) -> None:
        self.ray, self.work = ray, work
        self._work = ray.put(work.ending_itself())
        counted: dict[str, Any] = {"num_cpus": options.num_cpus or max(1, work.threads), "num_gpus": options.num_gpus}
        if options.memory_mb:
            counted["memory"] = options.memory_mb * 2**20
        self._task = ray.remote(max_retries=0, **counted)(run_cell)
        self._losses_left = options.node_losses
        self._cells: dict[Any, tuple[Cell, int, float]] = {}

    def outcomes(self, cells: Iterable[Cell]) -> Iterator[Outcome]:
        """Hand out all cells, and yield what becomes of them."""
        for cell in cells:
            self._submit(cell, self._losses_left)
        while self._cells:
            done, _ = self.ray.wait(list(self._cells), num_returns=1, timeout=LOOK)
            for task in done:
                cell, losses_left, began = self._cells.pop(task)
                try:
                    yield self.ray.get(task)
                except self.ray.exceptions.RayError as error:
                    if losses_left and self._machine_is_lost(error):
                        self._submit(cell, losses_left - 1)
                    else:
                        yield self.work.lost(cell, why(error), time.monotonic() - began)

    def _submit(self, cell: Cell, losses_left: int) -> None:
        self._cells[self._task.remote(self._work, cell)] = cell, losses_left, time.monotonic()

    def _machine_is_lost(self, error: Exception) -> bool:
        """Whether a process ended with its machine."""
        return isinstance(error, self.ray.exceptions.NodeDiedError)

    def close(self) -> None:
        """End the cells that run, and those that wait."""
        for task in self._cells:
            with contextlib.suppress(Exception):
                self.ray.cancel(task, force=True)


def run_cell(work: Work, cell: Cell) -> Outcome:
    """What runs in a process of Ray."""
    return work(cell)


def why(error: Exception) -> str:
    """The first line of what Ray says of a process that ended."""
    kind = type(error).__name__
    if kind == "WorkerCrashedError":
        return "its process ended before it was done (a crash, or it was killed, as when memory runs out)"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{kind}: {first}"
