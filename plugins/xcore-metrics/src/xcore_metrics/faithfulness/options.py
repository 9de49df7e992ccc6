"""Options of C-insertion, C-deletion, C-muFidelity and completeness."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.options import Options


class RemovalOptions(Options):
    """Options of C-insertion, C-deletion and C-muFidelity."""

    variant: Literal["auto", "codes", "direction", "region", "words"] = Field(
        default="auto",
        description="the experiment; auto: all that the explanation supports, and region (texts: words) always",
    )
    fills: tuple[Literal["blur", "mean"], ...] = Field(
        default=("blur", "mean"), min_length=1, description="region: what removed pixels are replaced with"
    )
    filler: str = Field(
        default="", description="words: what takes the place of a removed word, e.g. [MASK]; empty = nothing"
    )
    order: Literal["local", "global"] = Field(
        default="local", description="importances of the sample where the explanation has them, or always the class's"
    )
    output: Literal["logit", "probability"] = Field(default="logit", description="the class score that is followed")
    normalise: bool = Field(default=False, description="divide by the mean class score of the untouched samples")
    residual: bool = Field(
        default=True, description="codes: keep what the dictionary does not explain, so that curves start at the model"
    )
    circles: int = Field(
        default=1, ge=1, description="random circles of the concepts; one gives two random orders a concept"
    )
    steps: int = Field(default=10, ge=1, description="steps of a curve at most; more concepts are taken in groups")
    subsets: int = Field(default=32, ge=2, description="C-muFidelity: sets of concepts that are removed together")
    images: int = Field(default=60, ge=1, description="codes, direction: held-out samples, the first so many")
    region_images: int = Field(default=16, ge=1, description="region: explained images, the first so many")
    texts: int = Field(default=60, ge=1, description="words: explained texts, the first so many")


class CompletenessOptions(Options):
    """Options of completeness."""

    beta: float | None = Field(
        default=None,
        ge=-1,
        lt=1,
        description="none: scores as they are; else as published: kept only where the cosine exceeds beta, then of "
        "length one at each position",
    )
    train: int = Field(default=240, ge=10, description="training images of all classes that the recovery is fitted on")
    others: int = Field(default=200, ge=1, description="held-out images of the other classes")
    hidden: int = Field(default=500, ge=1, description="width of the recovery network")
    epochs: int = Field(default=5, ge=0, description="passes over the training images after the closed-form start")
    lr: float = Field(default=1e-3, gt=0, description="step size of the passes (Adam)")
