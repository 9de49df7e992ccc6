"""Options of the classifiers, of the helper models and of the data sets. This module imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from xcore.contract import Options, split, split_numbers


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


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Triple = Annotated[tuple[float, float, float], BeforeValidator(split_numbers)]


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


class WeightsOptions(Options):
    """Which weights a network of timm or torchvision gets."""

    pretrained: bool = Field(True, description="load the published weights; false = random weights")
    weights: str | None = Field(
        None, description="name of the published weights, for torchvision only, e.g. IMAGENET1K_V1"
    )
    checkpoint: str | None = Field(
        None, description="file of weights (.safetensors or .pth) to load instead of the published ones"
    )
    seed: int = Field(0, description="seed of random weights")


class ZooOptions(WeightsOptions, ClassifierOptions):
    """Options of the classifiers ``timm:`` and ``torchvision:``."""


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


class HubOptions(Options):
    """Options of ``clip:`` and of the image embedder ``hf:``."""

    device: str | None = Field(None, description="torch device; none = the one that --device names")
    batch_size: int = Field(32, ge=1, description="images, or texts, in each forward pass")


class EmbedderOptions(WeightsOptions, HubOptions):
    """Options of the image embedders ``timm:`` and ``torchvision:``."""

    checkpoint: str | None = Field(
        None,
        description="file of weights (.safetensors, .pth) to load instead of the published ones; its head is not read",
    )


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


class PictureOptions(Options):
    """Options of every data set of pictures."""

    size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="side in pixels of the square to which pictures are resized and cropped; "
        "none = as the classifier resizes and crops, else 224",
    )
    concepts: str | None = Field(None, description="folder with one sub-folder of images for each concept")
    vocabulary: str | None = Field(
        None, description="file with one phrase on each line; none = vocabulary.txt in the folder, if it exists"
    )
    names: str | None = Field(
        None,
        description="file that says how classes are to be called: .json {class: name}, .csv or .tsv with two columns, "
        "or .txt with 'class name' on each line or the names of the classes 0, 1, ...",
    )
    max_pixels: int = Field(100_000_000, ge=1, description="images with more pixels are skipped and named")


class ColumnOptions(PictureOptions):
    """Options of data sets that a table describes; None = the usual columns, such as label, split or mask."""

    label: str | None = Field(None, description="column of the classes, or an attribute of CelebA such as Blond_Hair")
    split: str | None = Field(None, description="column with train, validation and test, or 0, 1 and 2")
    group: tuple[str, ...] | None = Field(
        None, description="columns that make groups with the class, written a,b; none = the column group, if any"
    )
    caption: str | None = Field(None, description="column of the captions")
    mask: str | None = Field(None, description="column with the files of the masks")


class FolderOptions(ColumnOptions):
    """Options of ``folder:``."""

    metadata: str | None = Field(
        None, description="table that describes the pictures; none = metadata.csv in the folder or beside it, if any"
    )


class TableOptions(ColumnOptions):
    """Options of ``table:``."""

    image: str | None = Field(None, description="column with the files of the pictures, or with their bytes")
    images: str | None = Field(None, description="folder that the files are in; none = the folder of the table")
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="character between the cells of a CSV file; none = tab for .tsv, else what the heading has",
    )


class SavedOptions(ColumnOptions):
    """Options of ``hfdisk:``."""

    image: str | None = Field(None, description="column of the pictures; none = the first that holds pictures")


class ArrayOptions(PictureOptions):
    """Options of ``npz:``."""

    images: str | None = Field(None, description="array of the pictures; none = images, x or data")
    labels: str | None = Field(None, description="array of the classes; none = labels, y or targets")
