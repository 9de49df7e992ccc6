"""Options of `cce`. Imports no torch, so that `xcore show cce` stays fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options as Base


class Options(Base):
    """Options of `cce`."""

    subspaces: int = Field(default=6, ge=1, description="number of attributes, at most; each has a subspace of its own")
    k: int = Field(
        default=0,
        ge=0,
        description="number of concepts (values) of each attribute, 2 at least; 0 = as many as the clusters of each "
        "are, by their silhouette",
    )
    most: int = Field(default=6, ge=2, description="most values of an attribute where cce.k is 0")
    slack: float = Field(
        default=0.87,
        gt=0,
        le=1,
        description="where cce.k is 0, it is the largest number of clusters whose silhouette is this share of the best "
        "one at least: any two groups of values are as far from one another as the values are",
    )
    least: float = Field(
        default=0.72,
        ge=-1,
        le=1,
        description="the search for attributes ends where no clusters have this silhouette; those in noise have .6 to "
        ".7, because the subspace is searched for them",
    )
    search: Literal["discriminant", "gradient"] = Field(
        default="discriminant",
        description="how a subspace is found: by turns of k-means and the subspace that separates its clusters best, "
        "or by gradient steps on the silhouette (as published, where attributes are mixed more easily)",
    )
    concepts: Literal["joint", "orthogonal"] = Field(
        default="joint",
        description="joint: what each value adds to an embedding, by least squares on all attributes at once; "
        "orthogonal: the centres of the clusters in the subspace, which are orthogonal to those of other attributes "
        "(as published)",
    )
    layer: str = Field(
        default="",
        description="layer of the concepts; by default the layer given by --layer if it is not the classifier's "
        "default layer, otherwise the input of the affine head, with positions if there are any",
    )
    images: int = Field(
        default=80, ge=4, description="number of images of each class of the data, in which attributes are looked for"
    )
    starts: int = Field(
        default=20,
        ge=1,
        description="random subspaces from which a search by turns starts, for each number of principal components",
    )
    steps: int = Field(default=100, ge=1, description="gradient steps from each of three starts (released: 300)")
    rate: float = Field(default=0.03, gt=0, description="learning rate of the gradient steps (released code: .1)")
    exemplars: int = Field(default=10, ge=1, description="number of images shown for each concept")
    crop: int | None = Field(
        default=None,
        ge=2,
        description="short side of the crops from which maps are made if the layer has no positions; by default half "
        "the short side of the image",
    )
    stride: float = Field(
        default=0.8, gt=0, le=1, description="distance between neighbouring crops, as a fraction of the crop size"
    )
