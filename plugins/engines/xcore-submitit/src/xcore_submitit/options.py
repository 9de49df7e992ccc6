"""Options of the engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options


class SubmititOptions(Options):
    """Options of the engine `submitit`."""

    cluster: Literal["", "slurm", "local"] = ""
    """Where jobs run; "" = Slurm if this machine has it, else this machine."""
    at_once: int = Field(default=0, ge=0)
    """Jobs that are submitted and not done; 0 = 1000 on Slurm, and as many as the cores hold on this machine."""
    timeout_min: int = Field(default=24 * 60, ge=1)
    """Minutes after which Slurm ends a job; the limit of a cell in seconds is `--cell-timeout`."""
    cpus_per_task: int = Field(default=0, ge=0)
    """CPUs of a job; 0 = the threads of a cell."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of a job."""
    mem_gb: float = Field(default=0, ge=0)
    """Memory of a job; 0 = what the cluster gives."""
    partition: str = ""
    """Partition of Slurm."""
    account: str = ""
    """Account of Slurm."""
    poll: float = Field(default=1.0, gt=0)
    """Seconds between two looks at the jobs."""
