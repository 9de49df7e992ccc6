"""Options of the loaders and of the folder data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xcore.options import Options

Triple = tuple[float, float, float]


class ViewOptions(Options):
    """How a classifier sees pictures; None = the model's own."""

    classes: tuple[str, ...] | None = Field(None, description="names of the classes, in the order of the logits")
    input_size: int | None = Field(None, ge=1, description="side of the model's square input in pixels")
    mean: Triple | None = Field(None, description="mean of each channel in [0, 1]")
    std: Triple | None = Field(None, description="standard deviation of each channel in [0, 1]")
    fit: Literal["own", "whole"] = Field(
        "own",
        description="own: the model's resize and centre crop, except that pictures of the input size pass unchanged; "
        "whole: the whole picture is resized to the input size",
    )
    device: str | None = Field(None, description="torch device; none = cpu")
    batch_size: int = Field(64, ge=1, description="images per forward pass")


class ZooOptions(ViewOptions):
    """Options of ``timm:`` and ``torchvision:``."""

    pretrained: bool = Field(True, description="load the published weights; false = random weights from the seed")
    weights: str | None = Field(None, description="torchvision only: name of the weights, e.g. IMAGENET1K_V1")
    checkpoint: str | None = Field(None, description="weights file (.safetensors) to load instead of published ones")
    seed: int = Field(0, description="seed of random weights")


class FileOptions(ViewOptions):
    """Options of ``file:``."""

    architecture: str | None = Field(
        None, description="timm:MODEL, torchvision:MODEL or python:MODULE:FUNCTION; none = as the file's header says"
    )


class FunctionOptions(Options):
    """Options of ``python:``."""

    classes: tuple[str, ...] | None = Field(None, description="none = the function's attribute `classes`")
    batch_size: int = Field(64, ge=1, description="images per call")


class FolderOptions(Options):
    """Options of ``folder:``."""

    size: Annotated[int, Field(ge=1, le=4096, description="side of the square images in pixels, by centre crop")] = 224
    concepts: str | None = Field(None, description="folder with one sub-folder of images a concept")
    vocabulary: str | None = Field(None, description="file of phrases, one a line; none = vocabulary.txt in the folder")
    max_pixels: int = Field(100_000_000, ge=1, description="larger images are skipped and named")
