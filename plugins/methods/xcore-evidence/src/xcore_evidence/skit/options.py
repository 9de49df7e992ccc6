"""Options of the method `skit`. This module imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore_evidence.options import PhraseOptions


class SkitOptions(PhraseOptions):
    """Which concepts are tested, how they are bet on, and when a test rejects."""

    test: Literal["marginal", "conditional"] = Field(
        "marginal",
        description="marginal = whether the output depends on a phrase at all, also through others that go along with "
        "it; conditional = whether it does given the presence of all others, for few phrases that do not determine one "
        "another",
    )
    output: Literal["margin", "logit"] = Field(
        "margin", description="what is tested: the logit of the class less the logsumexp of all others, or the logit"
    )
    pool: int = Field(
        2000, ge=20, description="number of samples that the data set is asked for, as many of each other class"
    )
    samples: int = Field(
        400,
        ge=20,
        description="of pictures, how many of the pool are used: those that differ most from one another, three in "
        "five of them of the class",
    )
    tau: int = Field(400, ge=40, description="the budget: the most samples that one test bets on")
    warmup: int = Field(
        20, ge=4, description="first samples of each test, on which nothing is bet: they set the bandwidths"
    )
    orders: int = Field(10, ge=1, description="random orders of the samples; the e-value is the mean over them")
    alpha: float = Field(
        0.05, gt=0, lt=1, description="a test rejects at a wealth of 1 / alpha; false discovery rate of the marks"
    )
    sampler: Literal["regression", "neighbours", "kde"] | None = Field(
        None,
        description="how presence is drawn given that of the other phrases, for the conditional test: regression = "
        "what the others predict and the error of another sample; neighbours = that of a sample whose other "
        "phrases are alike; kde = a Gaussian kernel density over such samples; none: "
        "regression of pictures, neighbours of texts",
    )
    neighbours: int = Field(20, ge=2, description="number of samples that the samplers neighbours and kde choose from")
    bandwidth: float = Field(1.0, gt=0, description="of the Gaussian kernels, in medians of the distances")
    scale: Literal["past", "none"] = Field(
        "past",
        description="past = a payoff is the tanh of the witness in units of its size before; none = of the witness as "
        "it is, as published, which grows slowly where many phrases are conditioned on",
    )
    step: Literal["newton", "mixture"] = Field(
        "newton",
        description="how much is bet: newton = by the online Newton step; mixture = the mean wealth of bettors who "
        "stake fixed shares from 0 to .5",
    )
    signed: bool = Field(
        True,
        description="whether phrases that go with a lower output have a negative importance; false: dependence alone "
        "ranks, as published",
    )
    shown: int = Field(10, ge=2, description="number of samples that show a phrase, those in which it is most present")
