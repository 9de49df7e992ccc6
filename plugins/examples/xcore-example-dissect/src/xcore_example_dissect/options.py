"""The options. This module imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options


class DissectOptions(Options):
    """Options of dissect."""

    k: int = Field(10, ge=1, description="number of CRAFT's concepts")
    words: int = Field(3, ge=1, description="how many phrases a concept gets, the best first")
    similarity: Literal["soft-wpmi", "rank"] = Field(
        "soft-wpmi",
        description="how phrases are matched with a concept: soft weighted pointwise mutual information over the probe "
        "images in which it is strongest, or the rank correlation over all of them",
    )
    probes: int = Field(200, ge=20, description="probe images, of all classes")
    top: int = Field(40, ge=5, description="soft-wpmi: probe images in which the concept is strongest")
    sharpness: float = Field(
        10.0, gt=0, description="soft-wpmi: what similarities are multiplied by before the softmax"
    )
    shuffles: int = Field(200, ge=20, description="orders by chance, for the prior of a phrase and for p")
    max_p: float = Field(0.05, gt=0, le=1, description="a concept with a larger p gets no words")
