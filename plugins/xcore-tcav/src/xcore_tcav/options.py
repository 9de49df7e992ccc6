"""Options of the metric TS."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TSOptions(BaseModel):
    """How concept sets are scored and tested."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=10, ge=2, description="samples per set: the first n of a concept (all if it has fewer)")
    negatives: int = Field(default=20, ge=2, description="random sets R that every concept is separated from")
    null: int = Field(
        default=199, ge=19, description="least number of counterpart sets; grows to concepts x layers / alpha"
    )
    alpha: float = Field(default=0.05, gt=0, lt=1, description="level at which a concept counts as outside its null")
    test: Literal["rank", "ttest"] = Field(
        default="rank", description="ttest is the published test; it is not calibrated"
    )
    pool: bool = Field(default=False, description="average activations over positions instead of flattening them")
    folds: int = Field(default=5, ge=2, description="folds of the cross-validated CAV accuracy")
    layers: tuple[str, ...] = Field(default=(), description="layers to score at; empty = the layer of the explanation")
