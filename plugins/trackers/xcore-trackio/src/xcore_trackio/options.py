"""Options of the tracker."""

from __future__ import annotations

from pydantic import Field

from xcore.contract import Options


class TrackioOptions(Options):
    """Where a run is shown."""

    project: str = Field(default="xcore", min_length=1, description="project of trackio that the run is shown in")
    name: str = Field(default="", description="name of the run; empty = that of the run directory")
    space: str = Field(default="", description="Space that it is sent to, e.g. ORG/NAME; empty = this machine")
