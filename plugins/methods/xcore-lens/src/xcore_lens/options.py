"""Options of `lens`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options as Base

Extractor = Literal["nmf", "semi-nmf", "convex-nmf", "pca", "kmeans"]
Importance = Literal["gradient-x-input", "gradient", "integrated-gradients", "occlusion", "sobol", "shapley"]


class Options(Base):
    """Options of `lens`: any extractor can be combined with any importance."""

    extractor: Extractor = Field(default="nmf", description="method that finds the concepts (makes the dictionary)")
    importance: Importance = Field(
        default="gradient-x-input", description="attribution method that measures how important each concept is"
    )
    k: int = Field(
        default=10,
        ge=1,
        description="number of concepts (atoms of the dictionary); unless it is set, at most half the number of "
        "positions (or of images and crops), and at most the number of channels",
    )
    layer: str = Field(
        default="",
        description="layer of the dictionary; by default the layer given by --layer if it is not the classifier's "
        "default layer, otherwise the penultimate layer: the input of the affine head, with positions if there are any",
    )
    negative: Literal["semi-nmf", "shift", "relu", "error"] = Field(
        default="semi-nmf",
        description="what takes the place of nmf if the layer has negative activations: semi-nmf, or nmf after the "
        "minimum of each channel is subtracted (shift) or they are set to zero (relu); or stop with an error",
    )
    centre: bool = Field(
        default=False,
        description="subtract the mean activation before the dictionary is made (not possible with nmf); importances "
        "are then measured from the mean activation instead of from zero",
    )
    pool: Literal["sum", "abs-max"] = Field(
        default="sum",
        description="how the contributions at the positions of an image are combined: their signed sum, or the largest "
        "absolute value (abs-max, as in the reference implementation)",
    )
    rows: int = Field(default=10_000, ge=2, description="maximum number of positions from which the dictionary is made")
    max_iter: int = Field(default=1000, ge=1, description="maximum number of iterations of the extractor")
    tol: float = Field(default=1e-4, ge=0, description="the extractor stops when its relative change falls below this")
    steps: int = Field(default=32, ge=1, description="number of points on the path of integrated-gradients")
    designs: int = Field(
        default=32,
        ge=2,
        description="number of mask vectors per image from which sobol estimates its indices; a power of two",
    )
    permutations: int = Field(
        default=64,
        ge=4,
        multiple_of=2,
        description="number of random orders from which shapley estimates its values if an image has more than 10 "
        "concepts (with fewer concepts the values are exact)",
    )
    stability: bool = Field(
        default=True, description="also make a dictionary from each half of the images and compare the two"
    )
    crop: int | None = Field(
        default=None, ge=2, description="short side of a crop in pixels; by default half the short side of the image"
    )
    stride: float = Field(
        default=0.8, gt=0, le=1, description="distance between neighbouring crops, as a fraction of the crop size"
    )
    exemplars: int = Field(default=10, ge=1, description="number of crops shown for each concept")
    per_image: int = Field(default=2, ge=1, description="how many of these crops may come from the same image")
