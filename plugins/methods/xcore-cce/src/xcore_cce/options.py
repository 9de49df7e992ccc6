"""Options of `cce`. Imports no torch, so that `xcore show cce` stays fast."""

from __future__ import annotations

from pydantic import Field

from xcore.contract import Options as Base


class Options(Base):
    """Options of `cce`."""

    subspaces: int = Field(default=4, ge=1, description="number of attributes, each of which has a subspace of its own")
    k: int = Field(default=3, ge=2, description="number of concepts (values of the attribute) in each subspace")
    dimensions: int = Field(
        default=0,
        ge=0,
        description="dimensions of a subspace, 2 at least; 0 = one fewer than its concepts, which is what these span "
        "if their mean is zero, but 2 at least",
    )
    layer: str = Field(
        default="",
        description="layer of the concepts; by default the layer given by --layer if it is not the classifier's "
        "default layer, otherwise the input of the affine head, with positions if there are any",
    )
    images: int = Field(
        default=40, ge=4, description="number of images of each class of the data, in which attributes are looked for"
    )
    steps: int = Field(default=100, ge=1, description="gradient steps in which a subspace is learned (released: 300)")
    starts: int = Field(default=3, ge=1, description="subspaces from which learning starts; the best is kept")
    rate: float = Field(default=0.03, gt=0, description="learning rate of Adam (released code: .1)")
    fidelity: float = Field(
        default=10.0,
        ge=0,
        description="weight of the cosine of the mean of a cluster with its projection on the subspace, beside the "
        "silhouette of the clusters",
    )
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
