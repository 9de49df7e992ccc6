"""Options of `eac` and of the segmenters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.options import Options as Base


class Options(Base):
    """Options of `eac`; the released code's values are named where the defaults differ."""

    value: Literal["shapley", "banzhaf"] = Field(
        default="shapley", description="worth of a segment; banzhaf is what the released code computes"
    )
    output: Literal["probability", "logit"] = Field(
        default="probability", description="what a coalition is worth: the class's probability or its logit"
    )
    baseline: Literal["black", "mean", "blur"] = Field(
        default="black",
        description="behind the segments: black, the image's mean colour, or the image blurred",
    )
    rest: bool = Field(
        default=True,
        description="what no segment covers is a segment, so that all are the image (released: no)",
    )
    max_segments: int = Field(
        default=12, ge=2, description="segments of an image, the rest included; of more, the largest are kept"
    )
    coalitions: int = Field(
        default=256, ge=8, description="images of coalitions that the model sees for each image (released code: 2500)"
    )
    surrogate: Literal["auto", "pie", "none"] = Field(
        default="auto",
        description="auto: all coalitions where they fit the budget, else PIE where it can be fitted and fits",
    )
    correct: bool = Field(
        default=True, description="add the values of what PIE misses on the coalitions that were seen (released: no)"
    )
    min_r2: float = Field(
        default=0.5, le=1, description="R^2 of PIE on held-out coalitions below which it is not used (pie: warned of)"
    )
    steps: int = Field(default=200, ge=0, description="steps of the descent that fits PIE, after least squares")
    pairs: int = Field(
        default=1000, ge=2, description="antithetic pairs of permutations of PIE's players where they are more than 12"
    )
    layer: str = Field(
        default="", description="layer of PIE's features; empty = the last that gives one position, else the logits"
    )
    exemplars: int = Field(default=10, ge=1, description="images shown for the class, those with the largest values")


class FelzenszwalbOptions(Base):
    """Options of the segmenter `felzenszwalb`."""

    scale: float = Field(default=200.0, gt=0, description="larger = larger segments; for images of any size alike")
    sigma: float = Field(default=1.0, ge=0, description="smoothing before, in pixels of an image with a side of 64")
    min_share: float = Field(default=0.02, ge=0, lt=1, description="smallest segment, as a share of the image")


class SlicOptions(Base):
    """Options of the segmenter `slic`."""

    n_segments: int = Field(default=10, ge=1, description="number of segments, about")
    compactness: float = Field(default=10.0, gt=0, description="larger = more compact segments, less true to colours")
    sigma: float = Field(default=1.0, ge=0, description="smoothing before, in pixels of an image with a side of 64")


class GridOptions(Base):
    """Options of the segmenter `grid`."""

    rows: int = Field(default=3, ge=1, description="rows of rectangles")
    columns: int = Field(default=3, ge=1, description="columns of rectangles")


class SamOptions(Base):
    """Options of the segmenter `sam`; the defaults are those of the released automatic mask generator."""

    points_per_side: int = Field(default=32, ge=1, description="points of the grid, on a side of the image")
    points_per_batch: int = Field(default=64, ge=1, description="points that go through the mask decoder at once")
    pred_iou_thresh: float = Field(default=0.88, description="masks of a lower predicted quality are dropped")
    stability_score_thresh: float = Field(
        default=0.95, description="masks that change more than this under another cutoff are dropped"
    )
    stability_score_offset: float = Field(default=1.0, description="shift of the cutoff for the stability")
    mask_threshold: float = Field(default=0.0, description="cutoff of the mask logits")
    box_nms_thresh: float = Field(default=0.7, ge=0, le=1, description="masks whose boxes overlap more are one")
    crop_n_layers: int = Field(default=0, ge=0, description="layers of crops on which masks are sought as well")
    crop_overlap_ratio: float = Field(default=512 / 1500, ge=0, lt=1, description="overlap of crops, of a side")
    crop_n_points_downscale_factor: int = Field(default=1, ge=1, description="divides the points on a side per layer")
    device: str | None = Field(default=None, description="torch device; none = as --device says")
