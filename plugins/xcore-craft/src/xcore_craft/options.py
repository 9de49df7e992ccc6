"""Options of `craft`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.options import Options as Base


class Options(Base):
    """Options of `craft`; the defaults are the safer ones, the released code's are named where they differ."""

    k: int = Field(default=10, ge=1, description="number of concepts (rank of the factorisation)")
    crop: int | None = Field(default=None, ge=2, description="short side of a crop in pixels; none = half the image's")
    stride: float = Field(default=0.8, gt=0, le=1, description="step between crops, as a share of the crop")
    negative: Literal["error", "shift", "relu"] = Field(
        default="error",
        description="negative activations: refuse them, subtract each channel's minimum, or set them to zero",
    )
    max_iter: int = Field(
        default=1000, ge=1, description="upper bound on the sweeps of the factorisation (released code: 200)"
    )
    tol: float = Field(default=1e-4, ge=0, description="relative change at which the factorisation stops")
    designs: int = Field(default=32, ge=2, description="design points of the Sobol indices, a power of two")
    sampler: Literal["sobol", "halton"] = Field(
        default="sobol", description="sobol: scrambled; halton: unscrambled as released, biased, kept for comparison"
    )
    exemplars: int = Field(default=10, ge=1, description="crops shown for a concept")
    per_image: int = Field(default=2, ge=1, description="crops shown for a concept from one image, at most")
    recurse: int = Field(default=0, ge=0, description="how many layers down to refine concepts into sub-concepts")
    refine: int = Field(
        default=3, ge=1, description="how many concepts of a level are refined, the most important first"
    )
    sub_k: int = Field(default=5, ge=2, description="number of sub-concepts of a refined concept")
    sub_layer: str = Field(
        default="",
        description="layer of the first refinement; empty = the last usable one before, as deep in the model",
    )
