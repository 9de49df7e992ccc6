"""The options. This module imports nothing heavy."""

from __future__ import annotations

from pydantic import Field

from xcore.contract import Options


class SimulatabilityOptions(Options):
    """Options of simulatability."""

    concepts: int = Field(5, ge=1, description="the student knows the strengths of this many concepts, the first ones")
    grid: int = Field(4, ge=1, description="the student sees the mean colours of grid x grid fields of an image")
    splits: int = Field(20, ge=2, description="how many times the images are divided into lessons and exam")
    ridge: float = Field(1.0, gt=0, description="how strongly the student's weights are held down")
    least: int = Field(4, ge=2, description="images of each decision without which nothing is measured")
    random: int = Field(5, ge=1, description="sets of random directions, whose mean gain is the one by chance")
