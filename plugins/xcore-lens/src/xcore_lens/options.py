"""Options of `lens`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.options import Options as Base

Extractor = Literal["nmf", "semi-nmf", "convex-nmf", "pca", "kmeans"]
Importance = Literal["gradient-x-input", "gradient", "integrated-gradients", "occlusion", "sobol", "shapley"]


class Options(Base):
    """Options of `lens`: any extractor with any importance."""

    extractor: Extractor = Field(default="nmf", description="how the dictionary is made")
    importance: Importance = Field(default="gradient-x-input", description="how its atoms are ranked")
    k: int = Field(default=10, ge=1, description="number of concepts (atoms of the dictionary)")
    layer: str = Field(
        default="",
        description="layer of the dictionary; empty = --layer if that is not the classifier's default, else the "
        "penultimate layer: the input of the affine head, with positions where there are any",
    )
    negative: Literal["error", "shift", "relu"] = Field(
        default="error",
        description="negative activations and nmf: refuse them, subtract each channel's minimum, or set them to zero",
    )
    centre: bool = Field(
        default=False,
        description="subtract the mean activation first (any extractor but nmf); importances then compare with it",
    )
    pool: Literal["sum", "abs-max"] = Field(
        default="sum",
        description="positions of an image: the signed sum of contributions, or the largest absolute one "
        "(abs-max, as in the reference implementation)",
    )
    rows: int = Field(default=10_000, ge=2, description="positions that the dictionary is made from, at most")
    max_iter: int = Field(default=1000, ge=1, description="upper bound on the sweeps of the extractor")
    tol: float = Field(default=1e-4, ge=0, description="relative change at which the extractor stops")
    steps: int = Field(default=32, ge=1, description="points of the path of integrated-gradients")
    designs: int = Field(default=32, ge=2, description="design points of sobol, a power of two")
    permutations: int = Field(
        default=64, ge=4, multiple_of=2, description="permutations of shapley for more than 10 concepts in an image"
    )
    stability: bool = Field(default=True, description="refit on two halves of the images and compare the atoms")
    crop: int | None = Field(default=None, ge=2, description="short side of a crop in pixels; none = half the image's")
    stride: float = Field(default=0.8, gt=0, le=1, description="step between crops, as a share of the crop")
    exemplars: int = Field(default=10, ge=1, description="crops shown for a concept")
    per_image: int = Field(default=2, ge=1, description="crops shown for a concept from one image, at most")
