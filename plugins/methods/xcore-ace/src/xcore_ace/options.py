"""Options of `ace`. Imports no torch, so that `xcore show ace` stays fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options as Base


class Options(Base):
    """Options of `ace`. The defaults are those of the released code, unless the description gives another figure."""

    resolutions: tuple[int, ...] = Field(
        default=(15, 50, 80),
        min_length=1,
        description="numbers of superpixels into which each image is segmented, one segmentation after the other",
    )
    min_share: float = Field(
        default=0.001, ge=0, lt=1, description="segments with a smaller share of the image are left out"
    )
    overlap: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="a segment is left out if its intersection over union with one of an earlier segmentation is "
        "larger",
    )
    discovery: int = Field(
        default=40,
        ge=1,
        description="number of images in which concepts are looked for; the others, if there are ten, are those whose "
        "sensitivity is measured",
    )
    clusters: int = Field(default=25, ge=1, description="number of clusters of segments")
    patches: int = Field(
        default=40, ge=2, description="number of segments, from the nearest to the centre, that a cluster keeps"
    )
    least: int = Field(default=40, ge=2, description="clusters of fewer segments are left out")
    negatives: int = Field(
        default=20, ge=3, description="number of random sets; one CAV separates the concept from each of them"
    )
    test: Literal["rank", "ttest"] = Field(
        default="rank",
        description="rank: the calibrated rank test; ttest: a t-test over random sets as published, which is not "
        "calibrated",
    )
    null: int = Field(default=199, ge=19, description="number of random sets in the null distribution of the rank test")
    alpha: float = Field(
        default=0.05, gt=0, lt=1, description="family-wise error rate of the marks on each side (released code: .01)"
    )
    keep: Literal["all", "marked"] = Field(
        default="all",
        description="which concepts the explanation has: all, or those that the test marks (as in the released code)",
    )
