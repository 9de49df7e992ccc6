"""Options of the engine."""

from __future__ import annotations

from pydantic import Field

from xcore.contract import Options


class RayOptions(Options):
    """Options of the engine `ray`."""

    address: str = ""
    """Address of a cluster, or "auto" for the one of this machine; "" = one of this run alone, on this machine."""
    num_cpus: float = Field(default=0, ge=0)
    """CPUs that Ray counts for a cell; 0 = its threads."""
    num_gpus: float = Field(default=0, ge=0)
    """GPUs that Ray counts for a cell, such as 0.5."""
    memory_mb: int = Field(default=0, ge=0)
    """Memory that Ray counts for a cell, so that it puts no more cells on a machine; 0 = it counts none."""
    cluster_cpus: int = Field(default=0, ge=0)
    """CPUs of the cluster that is begun where no address is given; 0 = all of this machine."""
    node_losses: int = Field(default=10, ge=0)
    """How often a cell is run again because its machine was lost."""
