"""Options of the engines of the core; light, so that plans can be checked without loading an engine."""

from __future__ import annotations

from pydantic import Field

from xcore.contract.options import Options


class ProcessesOptions(Options):
    """Options of the engine `processes`."""

    workers: int | None = Field(
        None,
        ge=1,
        le=512,
        description="processes that run cells at the same time; none = 2, or 1 where there are too few cores for 2",
    )
