"""Options of the metrics and of the controls. Imports no torch, so that `xcore show` stays fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options


class PairOptions(Options):
    """Options of CS, ED, RCS and RED."""

    std_over: Literal["concept_images", "pairs"] = Field(
        default="concept_images",
        description="what the spread is taken over: the mean of each concept sample, or the value of each pair",
    )
    centre: bool = Field(
        default=False,
        description="first subtract the mean embedding of a held-out random set (does not change raw distances)",
    )
    centre_images: int = Field(default=60, ge=2, description="size of the random set for `centre`")
    normalise: bool = Field(
        default=False,
        description="scale embeddings to length 1 first, after centring (does not change cosines)",
    )


class RecoveryOptions(Options):
    """Options of recovery."""

    top: int = Field(default=3, ge=1, description="number k of concepts, from the most important, in precision@k")


class RemovalOptions(Options):
    """Options of C-insertion, C-deletion and C-muFidelity."""

    variant: Literal["auto", "codes", "direction", "region", "words"] = Field(
        default="auto",
        description="how concepts are removed; auto: in every way that the explanation supports, and always by region "
        "(for texts: by words)",
    )
    fills: tuple[Literal["blur", "mean"], ...] = Field(
        default=("blur", "mean"), min_length=1, description="region: what replaces removed pixels"
    )
    regions: tuple[Literal["own", "squares"], ...] = Field(
        default=("own",),
        min_length=1,
        description="region: what is removed; own: the regions of the concepts; squares: 5 x 5 squares of the image, "
        "in the order of the importance that lies in them, which is another segmentation than that of any method",
    )
    filler: str = Field(default="", description="words: what replaces a removed word, such as [MASK]; empty: nothing")
    order: Literal["local", "global"] = Field(
        default="local",
        description="local: by the importances for each sample, where the explanation has them; global: always by "
        "those for the class",
    )
    output: Literal["logit", "probability"] = Field(default="logit", description="the class score that is measured")
    normalise: bool = Field(default=False, description="divide by the mean class score of the unchanged samples")
    residual: bool = Field(
        default=True,
        description="codes: keep the part of the activations that the dictionary does not explain, so that curves "
        "start at the class score of the unchanged samples",
    )
    circles: int = Field(
        default=1, ge=1, description="number of random circles of the concepts; each gives two orders per concept"
    )
    steps: int = Field(
        default=10, ge=1, description="largest number of steps of a curve; more concepts are removed in groups"
    )
    subsets: int = Field(
        default=32, ge=2, description="C-muFidelity: number of sets of concepts that are removed together"
    )
    images: int = Field(default=60, ge=1, description="codes, direction: number of held-out samples, from the first")
    region_images: int = Field(default=16, ge=1, description="region: number of explained images, from the first")
    texts: int = Field(default=60, ge=1, description="words: number of explained texts, from the first")


class CompletenessOptions(Options):
    """Options of completeness."""

    beta: float | None = Field(
        default=None,
        ge=-1,
        lt=1,
        description="none: use concept scores as they are; a number: as published, keep scores only where the cosine "
        "exceeds it, and normalise them to length 1 at each position",
    )
    train: int = Field(
        default=240, ge=10, description="number of training images, of all classes, for the recovery network"
    )
    others: int = Field(default=200, ge=1, description="number of held-out images of the other classes")
    hidden: int = Field(default=500, ge=1, description="width of the recovery network")
    epochs: int = Field(
        default=5, ge=0, description="training epochs of the recovery network after its closed-form initialisation"
    )
    lr: float = Field(default=1e-3, gt=0, description="learning rate of these epochs (Adam)")


OTHERS = "number of held-out samples of other classes; of the explained class there are as many as of each other one"


class SurrogateFaithfulnessOptions(Options):
    """Options of surrogate-faithfulness."""

    others: int = Field(
        default=200,
        ge=10,
        description="number of samples of other classes, both to fit to and held out; of the explained class there are "
        "as many as of each other one",
    )
    random: int = Field(default=10, ge=2, description="number of draws of random concepts")


class FaithTraceOptions(Options):
    """Options of FaithTrace."""

    layer: str = Field(default="", description="layer whose features are used; empty: that of the explanation")
    share: float = Field(
        default=0.1, gt=0, le=0.5, description="share of the held-out images that count as high for a text, and as low"
    )
    others: int = Field(default=200, ge=10, description=OTHERS)
    null: int = Field(default=60, ge=1, description="largest number of random phrases of the vocabulary")


class CoSyOptions(Options):
    """Options of CoSy."""

    source: Literal["auto", "generator", "data"] = Field(
        default="auto",
        description="where images of a text come from; generator: drawn; data: the held-out images that the image-text "
        "model scores highest; auto: drawn where there is a generator",
    )
    unit: Literal["auto", "logit"] = Field(
        default="auto",
        description="what has to be active; auto: the concept's atom or direction, where it has one, else the class "
        "logit; logit: always the class logit",
    )
    images: int = Field(default=10, ge=2, description="number of images of each text")
    others: int = Field(default=200, ge=10, description=OTHERS)
    null: int = Field(
        default=20, ge=1, description="number of phrases of the vocabulary that join the texts of the other concepts"
    )


class LocalisationOptions(Options):
    """Options of localisation and pointing."""

    threshold: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of a map's largest value above which a pixel belongs to the concept; none: the best of 19",
    )
    mask: int | None = Field(
        default=None, ge=0, description="index of the mask to compare with; none: the one that the map fits best"
    )
    key: str = Field(default="masks", description="key of the masks in the meta data of the samples")


class ControlOptions(Options):
    """Options of class-crops, other-class and noise."""

    concepts: int = Field(default=3, ge=1, description="number of concepts")
    samples: int = Field(default=10, ge=2, description="number of samples of each concept")
