"""Cells as jobs: arrays of Slurm with one cell a task, or processes of this machine.

The run directory has to be on a file system that all machines share. Jobs write their records there themselves; what
comes back to the engine is a few words about each cell.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from xcore.contract import Cell, MissingError, Outcome, UsageError, Work
from xcore_submitit.options import SubmititOptions

JOBS = Path("live") / "jobs"
"""Folder of what submitit writes, in the run directory."""
KNOWN = "submitted.json"
ARRAY = 1000
"""Jobs of Slurm that are submitted at once: many clusters take no larger array."""


class SubmititEngine:
    """Runs cells by submitit."""

    enforces = frozenset({"seconds", "memory_mb"})

    def __init__(self, options: SubmititOptions) -> None:
        self.options = options
        self.cluster = options.cluster or ("slurm" if shutil.which("sbatch") else "local")

    def check(self, work: Work) -> None:
        """Raise if this machine has no Slurm, or too few cores for its own jobs."""
        if self.cluster == "slurm" and not shutil.which("sbatch"):
            raise MissingError("this machine has no sbatch", "run it where Slurm is, or --set submitit.cluster=local")
        wanted = self.options.at_once * work.threads
        if self.cluster == "local" and self.options.at_once > 1 and wanted > cores():
            fewer = max(1, cores() // max(1, work.threads))
            raise UsageError(
                f"{self.options.at_once} jobs with {work.threads} thread(s) each need {wanted} cores, and there are "
                f"{cores()}",
                f"choose fewer: --set submitit.at_once={fewer}",
            )

    def run(self, cells: Iterable[Cell], work: Work) -> Iterator[Outcome]:
        """Run the cells; outcomes come as jobs end."""
        folder = Path(work.root) / JOBS
        folder.mkdir(parents=True, exist_ok=True)
        cancel_left(folder)
        executor = self._executor(folder, work)
        running: dict[Any, tuple[Cell, float]] = {}
        left, at_once = iter(cells), self._at_once(work)
        driver = os.getpid() if self.cluster == "local" else 0
        try:
            while True:
                batch = list(islice(left, at_once - len(running)))
                if batch:
                    given = [(work.ending_itself(), cell, driver) for cell in batch]
                    jobs = executor.map_array(run_cell, *zip(*given, strict=True))
                    running |= {job: (cell, time.monotonic()) for job, cell in zip(jobs, batch, strict=True)}
                    self._remember(folder, running)
                if not running:
                    return
                done = [job for job in running if job.done()]
                for job in done:
                    cell, began = running.pop(job)
                    yield self._outcome(job, cell, work, time.monotonic() - began)
                if not done:
                    time.sleep(self.options.poll)
        finally:
            for job in running:
                with contextlib.suppress(Exception):
                    job.cancel(check=False)
            with contextlib.suppress(OSError):
                (folder / KNOWN).unlink(missing_ok=True)

    def _executor(self, folder: Path, work: Work) -> Any:
        import submitit

        o = self.options
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        executor.update_parameters(
            name="xcore",
            timeout_min=o.timeout_min,
            cpus_per_task=o.cpus_per_task or max(1, work.threads),
            gpus_per_node=o.gpus or None,
            mem_gb=o.mem_gb or None,
            slurm_array_parallelism=self._at_once(work),
            **({"slurm_partition": o.partition} if o.partition else {}),
            **({"slurm_account": o.account} if o.account else {}),
        )
        return executor

    def _at_once(self, work: Work) -> int:
        if self.options.at_once:
            return self.options.at_once
        return ARRAY if self.cluster == "slurm" else max(1, cores() // max(1, work.threads))

    def _outcome(self, job: Any, cell: Cell, work: Work, seconds: float) -> Outcome:
        """What a job says; one that ended without a word is a failed row."""
        try:
            outcome: Outcome = job.result()
            useless = "*"
        except Exception as error:  # of submitit, for a job that ended in any way but well
            first = next(iter(str(error).strip().splitlines()), "")
            reason = f"job {job.job_id} ended before it was done: {first} (its log: {job.paths.stderr})"
            outcome, useless = work.lost(cell, reason, seconds), "*.pkl"
        for file in job.paths.folder.glob(f"{job.job_id}_{useless}"):
            with contextlib.suppress(OSError):
                file.unlink()
        return outcome

    def _remember(self, folder: Path, running: Iterable[Any]) -> None:
        """Write which jobs run, so that the next start ends those of one that was killed."""
        if self.cluster == "slurm":
            (folder / KNOWN).write_text(json.dumps([job.job_id for job in running]), encoding="utf-8")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cancel_left(folder: Path) -> None:
    """End the jobs of Slurm of an earlier start that was killed: their cells are to run once."""
    with contextlib.suppress(OSError, ValueError, TypeError):  # a file of half a word is none
        ids = [str(job) for job in json.loads((folder / KNOWN).read_text(encoding="utf-8"))]
        if ids and shutil.which("scancel"):
            subprocess.run(["scancel", *ids], check=False, capture_output=True, timeout=60)
        (folder / KNOWN).unlink()


def run_cell(work: Work, cell: Cell, driver: int) -> Outcome:
    """What a job does. A job of this machine ends with the process that submitted it."""
    if driver:
        threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    return work(cell)


def _end_with(driver: int) -> None:
    while True:
        try:
            os.kill(driver, 0)
        except OSError:
            os._exit(1)
        time.sleep(0.3)
