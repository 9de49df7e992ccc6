"""Options of the loaders and of the folder data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from xcore.options import Options, split


def _names(value: Any) -> Any:
    """Class names as written on a command line: ``cat,dog``, or a file of names (.txt one a line, or a .json list)."""
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


class ViewOptions(Options):
    """How a classifier sees pictures; None = the model's own."""

    classes: Names | None = Field(
        None, description="names of the classes, in the order of the logits: a,b,c or a file (.txt, .json)"
    )
    input_size: int | None = Field(None, ge=1, description="side of the model's square input in pixels")
    mean: Triple | None = Field(None, description="mean of each channel in [0, 1]")
    std: Triple | None = Field(None, description="standard deviation of each channel in [0, 1]")
    fit: Literal["own", "whole"] = Field(
        "own",
        description="own: the model's resize and centre crop, except that pictures of the input size pass unchanged; "
        "whole: the whole picture is resized to the input size",
    )
    device: str | None = Field(None, description="torch device; none = as --device says")
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

    classes: Names | None = Field(None, description="none = the function's attribute `classes`")
    batch_size: int = Field(64, ge=1, description="images per call")


class ClipSegOptions(Options):
    """Options of ``clipseg:``."""

    device: str | None = Field(None, description="torch device; none = as --device says")
    batch_size: int = Field(16, ge=1, description="images per forward pass")


class BlipOptions(Options):
    """Options of ``blip-vqa:``."""

    device: str | None = Field(None, description="torch device; none = as --device says")
    batch_size: int = Field(32, ge=1, description="images per forward pass")
    max_tokens: int = Field(20, ge=1, description="longest text in tokens")


class CaptionOptions(BlipOptions):
    """Options of ``blip:``."""

    max_tokens: int = Field(40, ge=1, description="longest text in tokens, the prompt left out")
    prompt: str = Field("", description="what every caption begins with, for example 'a picture of'")
    top_p: float = Field(
        0.9, ge=0, le=1, description="mass of the likeliest tokens from which the next one is drawn; 0 = greedy"
    )


class FolderOptions(Options):
    """Options of ``folder:``."""

    size: Annotated[int, Field(ge=1, le=4096, description="side of the square images in pixels, by centre crop")] = 224
    concepts: str | None = Field(None, description="folder with one sub-folder of images a concept")
    vocabulary: str | None = Field(None, description="file of phrases, one a line; none = vocabulary.txt in the folder")
    max_pixels: int = Field(100_000_000, ge=1, description="larger images are skipped and named")
