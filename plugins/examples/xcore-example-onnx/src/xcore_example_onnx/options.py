"""The options, and the digest of the files that they name. This module imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from xcore.contract import Options, digest, file_digest
from xcore.inputs.paths import existing_file

Three = tuple[float, float, float]


class OnnxOptions(Options):
    """Options of onnx: what the network wants to see, and what its numbers mean."""

    classes: str = Field(
        "",
        description="file with the names of the classes in the order of the scores: one on each line (.txt), or a list "
        "or a mapping (.json); empty: the metadata `classes` of the network",
    )
    input_size: int | None = Field(
        None, ge=1, description="side of the square input in pixels; none = the network's own, or that of the images"
    )
    mean: Three = Field((0.0, 0.0, 0.0), description="mean of each channel, for images in [0, 1]")
    std: Three = Field((1.0, 1.0, 1.0), description="standard deviation of each channel, for images in [0, 1]")
    scale: float = Field(1.0, gt=0, description="what pixels are multiplied by at the end, e.g. 255")
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="order of the axes of the input")
    channels: Literal["rgb", "bgr"] = Field("rgb", description="order of the channels of the input")
    output: str = Field("", description="name of the output with one score for each class; empty: the first")
    probabilities: bool = Field(False, description="the scores are probabilities, whose logarithms become the logits")
    batch_size: int = Field(64, ge=1, description="images in each call, unless the network has a fixed number")


def fingerprint(options: OnnxOptions, argument: str) -> str:
    """A digest of the network and of the file of names: results of another file are other results."""
    files = [existing_file(argument, "ONNX file")]
    if options.classes:
        files.append(existing_file(options.classes, "file of class names"))
    return digest([file_digest(Path(file)) for file in files])
