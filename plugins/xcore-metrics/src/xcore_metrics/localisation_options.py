"""Options of localisation and pointing."""

from __future__ import annotations

from pydantic import Field

from xcore.options import Options


class LocalisationOptions(Options):
    """Options of localisation and pointing."""

    threshold: float | None = Field(
        default=None, ge=0, lt=1, description="share of a map's largest value that marks a place; none = the best of 19"
    )
    mask: int | None = Field(
        default=None, ge=0, description="which known mask to compare with; none = the one that the map fits best"
    )
    key: str = Field(default="masks", description="name of the masks in the data set's meta")
