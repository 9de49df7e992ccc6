"""Options of `conceptshap`. Imports no torch, so that `xcore show conceptshap` stays fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options as Base

Importance = Literal["class", "recall", "all"]

EXACT = 10
"""Up to this number of concepts all coalitions are valued."""


class Options(Base):
    """Options of `conceptshap`. Where the paper or its code has other values, the description gives them."""

    k: int = Field(
        default=6,
        ge=1,
        description="number of concepts to learn; two that come out alike count as one. Up to 10 concepts, the Shapley "
        "values are exact",
    )
    layer: str = Field(
        default="",
        description="layer of the concepts; by default the layer given by --layer if it is not the classifier's "
        "default layer, otherwise the input of the affine head, with positions if there are any",
    )
    images: int = Field(
        default=40, ge=4, description="number of images of each class of the data, from which concepts are learned"
    )
    validation: float = Field(
        default=0.25, gt=0, lt=1, description="share of these images on which completeness is measured"
    )
    judge: Literal["predictions", "labels"] = Field(
        default="predictions",
        description="what is to be recovered: the probabilities that the network itself gives, or the labels of the "
        "data (as in the paper)",
    )
    importance: Importance = Field(
        default="class",
        description="what the Shapley values share out. class: the variance of the probability of the class; recall: "
        "the share of its images that are recognised, all: the accuracy over all classes (as in the paper)",
    )
    beta: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="a concept is at a position if the cosine of its direction and the activation is larger (paper: 0 "
        "for animals, .2 for the toy data, .3 for texts)",
    )
    scale: Literal["l2", "sum", "none"] = Field(
        default="l2",
        description="what the scores of the concepts at a position are divided by: their length (as in the paper), "
        "their sum (released code), or nothing",
    )
    coherence: float = Field(
        default=0.1,
        ge=0,
        description="weight of the similarity of a concept with its nearest positions (paper: .1, for animals 10)",
    )
    nearest: int = Field(
        default=32,
        ge=1,
        description="number of nearest positions of a batch that a concept is drawn to (paper: 32 for the toy data, 2 "
        "for animals, 16 for texts)",
    )
    orthogonality: float = Field(
        default=0.1,
        ge=0,
        description="weight of the similarity of concepts with one another (paper: .1, for animals 10)",
    )
    similarity: Literal["squared", "signed"] = Field(
        default="squared",
        description="how the similarity of two concepts counts: the square of their cosine, or the cosine itself (as "
        "in the paper), which rewards opposite concepts",
    )
    duplicate: float = Field(
        default=0.95, gt=0, le=1, description="of two concepts with a larger cosine only the first is kept"
    )
    candidates: int = Field(
        default=4,
        ge=1,
        description="times as many directions as concepts are tried at the start, and those that matter most are kept",
    )
    hidden: int = Field(
        default=500, ge=1, description="width of the network that recovers activations from the scores of concepts"
    )
    steps: int = Field(
        default=400,
        ge=1,
        description="gradient steps in which the concepts are learned, after half as many for their start",
    )
    tuning: int = Field(
        default=40, ge=1, description="gradient steps in which the recovery is learned anew for each set of concepts"
    )
    batch: int = Field(default=64, ge=2, description="images in each gradient step (paper: 128)")
    rate: float = Field(default=3e-3, gt=0, description="learning rate of Adam (paper: .001)")
    coalitions: int = Field(
        default=200, ge=20, description="number of sets of concepts that are valued if there are more than 10 concepts"
    )
    exemplars: int = Field(default=10, ge=1, description="number of crops shown for each concept")
    per_image: int = Field(default=2, ge=1, description="how many of these crops may come from the same image")
    crop: int | None = Field(
        default=None, ge=2, description="short side of a crop in pixels; by default half the short side of the image"
    )
    stride: float = Field(
        default=0.8, gt=0, le=1, description="distance between neighbouring crops, as a fraction of the crop size"
    )
