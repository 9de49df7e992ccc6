"""Options of the pair metrics, recovery and the floors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.options import Options


class PairOptions(Options):
    """Options of CS, ED, RCS and RED."""

    std_over: Literal["concept_images", "pairs"] = Field(
        default="concept_images",
        description="what the spread is over: the mean value of each concept sample, or the value of each pair",
    )
    centre: bool = Field(
        default=False,
        description="subtract the mean embedding of a held-out random set first (leaves raw distances as they are)",
    )
    centre_images: int = Field(default=60, ge=2, description="size of the random set that `centre` uses")
    normalise: bool = Field(
        default=False, description="scale embeddings to length 1 first, after centring (leaves cosines as they are)"
    )


class RecoveryOptions(Options):
    """Options of recovery."""

    top: int = Field(default=3, ge=1, description="concepts of the ranking that are judged: precision@top")


class FloorOptions(Options):
    """Options of class-crops, other-class and noise."""

    concepts: int = Field(default=3, ge=1, description="number of concepts")
    samples: int = Field(default=10, ge=2, description="number of samples of each concept")
