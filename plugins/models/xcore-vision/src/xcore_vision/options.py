"""Options of the classifiers, of the helper models and of the folder data set. This module imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from xcore.contract import Options, split


def _names(value: Any) -> Any:
    """Class names as on a command line: ``cat,dog``, or a file (.txt: one name on each line; .json: a list)."""
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    if path.suffix not in (".txt", ".json"):
        return split(value)
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"no class names can be read from {value}: {error}") from error
    return tuple(names)


def _numbers(value: Any) -> Any:
    return split(value) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Triple = Annotated[tuple[float, float, float], BeforeValidator(_numbers)]


class ClassifierOptions(Options):
    """Class names and preprocessing of a classifier; None means those of the model."""

    classes: Names | None = Field(
        None, description="names of the classes in the order of the logits: a,b,c, or a file of names (.txt or .json)"
    )
    input_size: int | None = Field(None, ge=1, description="side of the square input in pixels; none = the model's own")
    mean: Triple | None = Field(None, description="mean of each channel, for images in [0, 1]; none = the model's own")
    std: Triple | None = Field(
        None, description="standard deviation of each channel, for images in [0, 1]; none = the model's own"
    )
    fit: Literal["own", "whole"] = Field(
        "own",
        description="own: resize and crop at the centre as the model does, but leave images of the input size as they "
        "are; whole: resize the whole image to the input size",
    )
    device: str | None = Field(None, description="torch device; none = the one that --device names")
    batch_size: int = Field(64, ge=1, description="images in each forward pass")


class ZooOptions(ClassifierOptions):
    """Options of ``timm:`` and ``torchvision:``."""

    pretrained: bool = Field(True, description="load the published weights; false = random weights")
    weights: str | None = Field(
        None, description="name of the published weights, for torchvision only, e.g. IMAGENET1K_V1"
    )
    checkpoint: str | None = Field(
        None, description="file of weights (.safetensors) to load instead of the published ones"
    )
    seed: int = Field(0, description="seed of random weights")


class FileOptions(ClassifierOptions):
    """Options of ``file:``."""

    architecture: str | None = Field(
        None,
        description="how to build the model: timm:MODEL, torchvision:MODEL or python:MODULE:FUNCTION; "
        "none = as the header of the file says",
    )


class FunctionOptions(Options):
    """Options of ``python:``."""

    classes: Names | None = Field(
        None, description="names of the classes in the order of the scores; none = the function's attribute `classes`"
    )
    batch_size: int = Field(64, ge=1, description="images in each call")


class ClipSegOptions(Options):
    """Options of ``clipseg:``."""

    device: str | None = Field(None, description="torch device; none = the one that --device names")
    batch_size: int = Field(16, ge=1, description="images in each forward pass")


class BlipOptions(Options):
    """Options of ``blip-vqa:``."""

    device: str | None = Field(None, description="torch device; none = the one that --device names")
    batch_size: int = Field(32, ge=1, description="images in each forward pass")
    max_tokens: int = Field(20, ge=1, description="most tokens of an answer")


class CaptionOptions(BlipOptions):
    """Options of ``blip:``."""

    max_tokens: int = Field(40, ge=1, description="most tokens of a caption, not counting the prompt")
    prompt: str = Field("", description="text that every caption begins with, for example 'a picture of'")
    top_p: float = Field(
        0.9,
        ge=0,
        le=1,
        description="tokens are sampled from the likeliest ones that together have this probability; 0 = the likeliest",
    )


class FolderOptions(Options):
    """Options of ``folder:``."""

    size: Annotated[
        int, Field(ge=1, le=4096, description="side in pixels of the square to which images are resized and cropped")
    ] = 224
    concepts: str | None = Field(None, description="folder with one sub-folder of images for each concept")
    vocabulary: str | None = Field(
        None, description="file with one phrase on each line; none = vocabulary.txt in the folder, if it exists"
    )
    max_pixels: int = Field(100_000_000, ge=1, description="images with more pixels are skipped and named")
