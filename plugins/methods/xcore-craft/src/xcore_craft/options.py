"""Options of `craft`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options as Base


class Options(Base):
    """Options of `craft`. Where a default differs from the authors' released code, the description gives theirs."""

    k: int = Field(
        default=10,
        ge=1,
        description="number of concepts (the rank of the factorisation); unless it is set, at most half the number of "
        "crops, and at most the number of channels",
    )
    crop: int | None = Field(
        default=None, ge=2, description="short side of a crop in pixels; by default half the short side of the image"
    )
    stride: float = Field(
        default=0.8, gt=0, le=1, description="distance between neighbouring crops, as a fraction of the crop size"
    )
    negative: Literal["semi-nmf", "shift", "relu", "error"] = Field(
        default="semi-nmf",
        description="what to do if the layer has negative activations: let the atoms be negative too (semi-nmf), "
        "subtract the minimum of each channel (shift), set them to zero (relu), or stop with an error",
    )
    max_iter: int = Field(
        default=1000, ge=1, description="maximum number of iterations of the factorisation (released code: 200)"
    )
    tol: float = Field(
        default=1e-4, ge=0, description="the factorisation stops when its relative change falls below this"
    )
    estimator: Literal["regression", "jansen"] = Field(
        default="regression",
        description="how the Sobol indices are estimated: by a regression of the logit on the masks, which is exact "
        "where the head is affine and leaves what it cannot describe to jansen; or always by Jansen's estimator, as "
        "in the released code, which needs six times as many evaluations",
    )
    designs: int = Field(
        default=32,
        ge=2,
        description="number of mask vectors per image in the design of jansen, which evaluates one more for each of "
        "them and each concept; the regression takes a sixth of all these; a power of two",
    )
    sampler: Literal["sobol", "halton"] = Field(
        default="sobol",
        description="how the mask vectors are drawn: scrambled Sobol points, or the unscrambled Halton points of the "
        "released code, which give biased indices and are kept for comparison (with estimator=jansen)",
    )
    exemplars: int = Field(default=10, ge=1, description="number of crops shown for each concept")
    per_image: int = Field(default=2, ge=1, description="how many of these crops may come from the same image")
    recurse: int = Field(
        default=0,
        ge=0,
        description="how many times concepts are split into sub-concepts, each time at an earlier layer",
    )
    refine: int = Field(
        default=3, ge=1, description="how many concepts of each level are split, starting with the most important"
    )
    sub_k: int = Field(default=5, ge=2, description="number of sub-concepts into which a concept is split")
    sub_layer: str = Field(
        default="",
        description="layer of the first split; by default the last suitable layer before the current one that is "
        "equally deep in the module tree",
    )
    names: int = Field(
        default=0,
        ge=0,
        description="how many phrases of the vocabulary name a concept, at most: those whose presence in images of all "
        "classes goes with its strength, given the other phrases; needs an image-text model; 0 = no names",
    )
    vocabulary: str = Field(
        default="",
        description="file with the phrases that may be names, one on each line (UTF-8); empty: the vocabulary of the "
        "data set, or everyday visual attributes if it has none",
    )
