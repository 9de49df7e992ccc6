"""The card of the tracker. This module imports nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_trackers(register: Register) -> None:
    """Register the tracker."""
    register(
        "trackio",
        "xcore_trackio.tracker:Trackio",
        summary="a dashboard of cells and scores with trackio, on this machine or in a Space",
        options="xcore_trackio.options:TrackioOptions",
    )
