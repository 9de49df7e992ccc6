"""What this plugin offers."""

from __future__ import annotations

from xcore import hookimpl
from xcore.contract import Register


@hookimpl
def register_engines(register: Register) -> None:
    """Offer `submitit`."""
    register(
        "submitit",
        "xcore_submitit.engine:SubmititEngine",
        summary="cells as jobs of Slurm, one a task of an array, or as jobs of this machine",
        options="xcore_submitit.options:SubmititOptions",
    )
