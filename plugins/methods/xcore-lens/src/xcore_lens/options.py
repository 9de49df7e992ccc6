"""Options of `lens`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.contract import Options as Base

Factorisation = Literal["nmf", "semi-nmf", "convex-nmf", "pca", "kmeans"]
Trained = Literal["topk", "batch-topk", "jumprelu", "archetypal"]
"""The sparse autoencoders that can be trained here."""
Extractor = Literal[Factorisation, Trained]
Importance = Literal["gradient-x-input", "gradient", "integrated-gradients", "lrp", "occlusion", "sobol", "shapley"]


class SaeOptions(Base):
    """How a sparse autoencoder is trained. It involves no class, so all classes and seeds of a run share one."""

    sae_atoms: int | None = Field(
        default=None, ge=1, description="atoms of a sparse autoencoder; none = four for each channel, at most 1024"
    )
    sae_active: int | None = Field(
        default=None,
        ge=1,
        description="how many atoms are active at a position (of batch-topk and jumprelu: on average); none = one in "
        "ten, but at most one for eight channels",
    )
    sae_images: int = Field(
        default=1000, ge=2, description="training images, of all classes of the data, from which it is trained"
    )
    sae_rows: int = Field(
        default=100_000, ge=2, description="maximum number of positions of these images; if there are more, a draw"
    )
    sae_epochs: int = Field(default=20, ge=1, description="how often the training goes through all positions")
    sae_batch: int = Field(default=1024, ge=1, description="positions in a step of the training")
    sae_lr: float = Field(default=2e-3, gt=0, description="learning rate of Adam")
    sae_seed: int = Field(
        default=0, ge=0, description="seed of the training and of its images; all seeds of a run share the autoencoder"
    )
    sae_aux: float = Field(
        default=0.1,
        ge=0,
        description="weight of the auxiliary loss, by which atoms that were not active explain what is left (not of "
        "jumprelu)",
    )
    sae_revive: bool = Field(
        default=True,
        description="after each epoch but the last quarter, point atoms that were never active to badly explained rows",
    )
    sae_penalty: float | None = Field(
        default=None,
        gt=0,
        description="weight of the number of active atoms in the loss of jumprelu; none = so that sae_active of them "
        "are active",
    )
    sae_bandwidth: float = Field(
        default=0.1,
        gt=0,
        description="width of the rectangle by which jumprelu estimates the gradient of its thresholds, in units of "
        "the standard deviation of the activations",
    )
    sae_parity: bool = Field(
        default=False,
        description="divide the gradients of the thresholds by the bandwidth once more, as overcomplete 0.3.0 does",
    )
    sae_points: int | None = Field(
        default=None,
        ge=1,
        description="points that atoms of archetypal are mixtures of, means of clusters; none = two for each atom",
    )
    sae_delta: float = Field(
        default=1.0,
        ge=0,
        description="how far an atom of archetypal may be from a mixture of points, in units of the standard deviation",
    )


class ConceptOptions(Base):
    """How the concepts of a class are found, measured and shown."""

    extractor: Extractor = Field(
        default="nmf",
        description="method that finds the concepts (makes the dictionary); topk, batch-topk, jumprelu and archetypal "
        "are sparse autoencoders, trained once for a layer on images of all classes",
    )
    sae: str = Field(
        default="",
        description="a sparse autoencoder that was trained before: its folder, or ORG/MODEL[@REVISION] on the hub; it "
        "takes the place of the extractor",
    )
    importance: Importance = Field(
        default="gradient-x-input",
        description="attribution method that measures how important each concept is; lrp needs the extra of that name",
    )
    k: int = Field(
        default=10,
        ge=1,
        description="number of concepts (atoms of the dictionary); unless it is set, at most half the number of "
        "positions (or of images and crops), and at most the number of channels. Of a sparse autoencoder, as many "
        "atoms are shown: those with the largest absolute importance",
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


class Options(SaeOptions, ConceptOptions):
    """Options of `lens`: any extractor can be combined with any importance."""
