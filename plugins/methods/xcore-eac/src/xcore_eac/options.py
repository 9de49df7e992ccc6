"""Options of `eac` and of the segmenters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from xcore.contract import Options, split_numbers


class EacOptions(Options):
    """Options of `eac`. Descriptions give the value of the released code where it differs from the default."""

    value: Literal["shapley", "banzhaf"] = Field(
        default="shapley", description="how the worth of a segment is defined; released code: banzhaf"
    )
    output: Literal["probability", "logit"] = Field(
        default="probability", description="value of a coalition: the probability or the logit of the class"
    )
    baseline: Literal["black", "mean", "blur"] = Field(
        default="black",
        description="what replaces absent segments: black, the image's mean colour, or the blurred image",
    )
    rest: bool = Field(
        default=True,
        description="whether the pixels in no segment are one more segment, `rest` (released code: no)",
    )
    max_segments: int = Field(
        default=12,
        ge=2,
        description="largest number of segments of an image, with the rest; if there are more, the largest are kept",
    )
    coalitions: int = Field(
        default=256,
        ge=8,
        description="number of coalitions that the model evaluates for each image (released code: 2500)",
    )
    surrogate: Literal["auto", "pie", "none"] = Field(
        default="auto",
        description="auto: evaluate all coalitions if `coalitions` allows it, otherwise use the surrogate PIE if it "
        "fits well; pie: always use it; none: never",
    )
    correct: bool = Field(
        default=True,
        description="correct the values by the errors of PIE on the evaluated coalitions (released code: no)",
    )
    min_r2: float = Field(
        default=0.5,
        le=1,
        description="R^2 on held-out coalitions below which PIE is not used (with surrogate=pie: a warning)",
    )
    steps: int = Field(
        default=200, ge=0, description="steps of the gradient descent that fits PIE, after least squares"
    )
    pairs: int = Field(
        default=1000,
        ge=2,
        description="antithetic pairs of permutations that sample the values of PIE for more than 12 segments",
    )
    layer: str = Field(
        default="",
        description="layer of the features of PIE; empty: the last layer that gives one position, or the logits",
    )
    exemplars: int = Field(
        default=10, ge=1, description="number of images shown for the class: those with the largest values"
    )


class FelzenszwalbOptions(Options):
    """Options of the segmenter `felzenszwalb`."""

    segments: Annotated[tuple[int, int], BeforeValidator(split_numbers)] = Field(
        default=(10, 60),
        description="least and largest number of segments: the scale is changed until their number lies between them",
    )
    scale: float = Field(
        default=200.0,
        gt=0,
        description="where the search for a scale begins, scaled with the image size; larger ones give larger segments",
    )
    sigma: float = Field(
        default=1.0,
        ge=0,
        description="standard deviation of the smoothing before, in pixels of an image with a side of 64; it grows "
        "with the square root of the side",
    )
    min_share: float = Field(
        default=0.01, ge=0, lt=1, description="area of the smallest segment, as a share of the image"
    )

    @model_validator(mode="after")
    def _range(self) -> FelzenszwalbOptions:
        if not 1 <= self.segments[0] <= self.segments[1]:
            raise ValueError("segments: the first number must be at least 1, and no larger than the second")
        return self


class SlicOptions(Options):
    """Options of the segmenter `slic`."""

    n_segments: int = Field(default=10, ge=1, description="approximate number of segments")
    compactness: float = Field(
        default=10.0, gt=0, description="larger values give more compact segments that follow colours less"
    )
    sigma: float = Field(
        default=1.0,
        ge=0,
        description="standard deviation of the smoothing before, in pixels of an image with a side of 64",
    )


class GridOptions(Options):
    """Options of the segmenter `grid`."""

    rows: int = Field(default=3, ge=1, description="number of rows of rectangles")
    columns: int = Field(default=3, ge=1, description="number of columns of rectangles")


class SamOptions(Options):
    """Options of the segmenter `sam`; the defaults are those of the released automatic mask generator."""

    points_per_side: int = Field(default=32, ge=1, description="number of grid points along each side of the image")
    points_per_batch: int = Field(
        default=64, ge=1, description="number of points that go through the mask decoder at once"
    )
    pred_iou_thresh: float = Field(default=0.88, description="masks with a lower predicted IoU are dropped")
    stability_score_thresh: float = Field(default=0.95, description="masks with a lower stability score are dropped")
    stability_score_offset: float = Field(
        default=1.0, description="shift of the cutoff when the stability score is computed"
    )
    mask_threshold: float = Field(default=0.0, description="cutoff of the mask logits")
    box_nms_thresh: float = Field(
        default=0.7, ge=0, le=1, description="of masks whose boxes overlap by a larger IoU, only the best one is kept"
    )
    crop_n_layers: int = Field(
        default=0, ge=0, description="number of layers of image crops in which masks are searched as well"
    )
    crop_overlap_ratio: float = Field(
        default=512 / 1500, ge=0, lt=1, description="overlap of neighbouring crops, as a share of the image side"
    )
    crop_n_points_downscale_factor: int = Field(
        default=1, ge=1, description="factor by which each layer of crops has fewer grid points along a side"
    )
    device: str | None = Field(default=None, description="torch device; none: the one of --device")
