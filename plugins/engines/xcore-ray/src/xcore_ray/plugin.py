"""What this plugin offers."""

from __future__ import annotations

from xcore import hookimpl
from xcore.contract import Register


@hookimpl
def register_engines(register: Register) -> None:
    """Offer `ray`."""
    register(
        "ray",
        "xcore_ray.engine:RayEngine",
        summary="cells as tasks of Ray, on one machine or a cluster",
        options="xcore_ray.options:RayOptions",
    )
