"""Options of the explainer `tcav` and of the metric TS. Imports no torch, so that `xcore show` stays fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options

Counterparts = Literal["coherent", "mixed"]

COUNTERPARTS = (
    "what takes the place of a concept in its null distribution; coherent: a random sample and its nearest neighbours, "
    "as a concept's samples are alike; mixed: random samples; a drawn concept is compared with random phrases by either"
)


class TcavOptions(Options):
    """Which concepts the explainer `tcav` scores, what it compares them with, and how it tests them."""

    source: Literal["auto", "data", "folders", "prompts", "context"] = Field(
        "auto",
        description="where the concepts come from; auto: folders or prompts if given, otherwise the data set; context: "
        "phrases (`concepts`, or those of the vocabulary), learned from samples of all classes that show them more or "
        "less",
    )
    concepts: tuple[str, ...] = Field((), description="names of the concepts to score; empty: all that the source has")
    folders: tuple[str, ...] = Field(
        (),
        description="folders of concept images: DIR with one sub-folder for each concept, or NAME=DIR for one concept",
    )
    prompts: tuple[str, ...] = Field(
        (),
        description="prompts for the generator, each of which becomes a concept; empty: phrases of the vocabulary, "
        "see `first`",
    )
    first: int = Field(
        20, ge=1, description="how many phrases of the vocabulary, from the first, are used if no prompt is given"
    )

    layers: tuple[str, ...] = Field((), description="layers at which to score; empty: the layer of the task")
    against: str = Field(
        "",
        description="relative TCAV: the concept to compare with, or 'others' for all others; empty: random sets",
    )
    contrast: Literal["auto", "random", "others"] = Field(
        "auto",
        description="what the random sets are made of; random: samples of other classes, or those of --contrast; "
        "others: pictures of the other concepts; auto: the other concepts if there are folders of at least four, "
        "otherwise random",
    )
    n: int = Field(
        10, ge=2, description="number of samples of a concept that its CAVs are fitted on, and size of each random set"
    )
    negatives: int = Field(
        20, ge=3, description="number R of random sets; one CAV separates the concept from each of them"
    )
    null: int = Field(
        199,
        ge=19,
        description="number of random sets in the null distribution; at most one for each random sample or phrase",
    )
    counterparts: Counterparts = Field("coherent", description=COUNTERPARTS)
    alpha: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="family-wise error rate of the marks on each side",
    )
    test: Literal["rank", "ttest"] = Field(
        "rank", description="rank: the calibrated rank test; ttest: the published t-test, which is not calibrated"
    )
    learnable: float = Field(
        0.7, ge=0.5, le=1, description="cross-validated CAV accuracy below which a concept is marked as not learnable"
    )
    folds: int = Field(5, ge=2, description="number of folds of the cross-validated CAV accuracy")
    pool: bool = Field(False, description="average activations over positions instead of flattening them")

    shown: int = Field(
        10,
        ge=2,
        description="number of samples that the explanation shows for a concept, where possible other ones "
        "than those that its CAVs were fitted on",
    )
    maps: int = Field(
        10,
        ge=0,
        description="number of concepts, from the most important, whose position in the class images is mapped",
    )


class TSOptions(Options):
    """How the metric TS scores and tests the concepts of an explanation."""

    n: int = Field(
        default=10, ge=2, description="samples per set: the first n of a concept, or all of them if it has fewer"
    )
    negatives: int = Field(
        default=20, ge=2, description="number R of random sets; one CAV separates the concept from each of them"
    )
    null: int = Field(
        default=199,
        ge=19,
        description="number of random sets in the null distribution; at most one for each random sample or phrase",
    )
    counterparts: Counterparts = Field("coherent", description=COUNTERPARTS)
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="family-wise error rate of the marks on each side",
    )
    test: Literal["rank", "ttest"] = Field(
        default="rank",
        description="rank: the calibrated rank test; ttest: the published t-test, which is not calibrated",
    )
    pool: bool = Field(default=False, description="average activations over positions instead of flattening them")
    folds: int = Field(default=5, ge=2, description="number of folds of the cross-validated CAV accuracy")
    layers: tuple[str, ...] = Field(
        default=(), description="layers at which to score; empty: the layer of the explanation"
    )


class AlphaTcavOptions(TSOptions):
    """How the metric alpha-TCAV scores and tests the concepts of an explanation; by the rank test only."""

    sharpness: float = Field(
        default=1.0,
        gt=0,
        description="the alpha of alpha-TCAV (`alpha` is the error rate of the marks): the greater, the nearer to TS",
    )
    test: Literal["rank"] = Field(default="rank", description="rank: the calibrated rank test")
