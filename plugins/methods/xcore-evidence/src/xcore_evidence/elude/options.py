"""Options of the method `elude`. This module imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore_evidence.options import PhraseOptions


class EludeOptions(PhraseOptions):
    """Which attributes explain the predictions, how sparsely, and how many features are added to them."""

    pool: int = Field(900, ge=60, description="number of samples that the data set is asked for, as many of each class")
    fit: Literal["predictions", "logits"] = Field(
        "predictions",
        description="what the attributes are fitted to: the predicted classes, by a multinomial lasso, as published; "
        "or the logits of all classes, by a lasso of each",
    )
    penalty: float | None = Field(
        None,
        gt=0,
        le=1,
        description="strength of the lasso, as a share of the one that leaves no attribute; none: the sparsest fit "
        "that is right about as often as the best one, on samples that neither fit nor report",
    )
    rank: int | None = Field(
        None,
        ge=0,
        description="number of unnamed feature directions; none: the smallest that is right about as often as the "
        "best one, on samples that neither fit nor report",
    )
    most: int = Field(8, ge=0, description="greatest number of unnamed feature directions that is tried")
    ridge: float = Field(
        0.01, gt=0, description="ridge of the regression on features, as a share of their mean variance"
    )
    shown: int = Field(10, ge=2, description="number of samples that show a concept, those in which it is strongest")
