"""``hf:MODEL``: image classifiers of transformers, with their own preprocessing and class names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcore.contract import UsageError
from xcore.inputs.images import Framing, Interpolation, framed
from xcore.models.classifiers import TorchClassifier
from xcore.pretrained.loading import load_model
from xcore_vision.directories import image_model_directory
from xcore_vision.options import ClassifierOptions
from xcore_vision.preprocessing import Preprocessing
from xcore_vision.processor import OwnProcessor, load_image_processor
from xcore_vision.zoo import assemble

RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Number of Pillow and transformers -> the filter."""
TOLERANCE = 0.02
"""Largest difference of a pixel to the processor's own result, as a share of the range of the network's input."""


def hf_classifier(options: ClassifierOptions, argument: str) -> TorchClassifier:
    """``hf:MODEL``: an image classifier of transformers, from a directory or the Hub.

    Raises
    ------
    MissingError
        There is no such model, or a file of it is missing.
    UsageError
        The directory is damaged or holds another kind of model, or its image processor does something that a
        classifier's `framing` cannot describe.
    """
    from transformers import AutoModelForImageClassification

    folder = image_model_directory(argument)
    preprocessing = own_preprocessing(load_image_processor(folder), folder)
    model = load_model(AutoModelForImageClassification, folder, "image classifier")
    width = int(model.config.num_labels)
    names = [str(model.config.id2label.get(i, "")) for i in range(width)]
    made_up = any(name in ("", f"LABEL_{i}") for i, name in enumerate(names))
    return assemble(model, options, preprocessing, None if made_up else names, width, "hf")


def own_preprocessing(processor: Any, folder: Path) -> Preprocessing:
    """The preprocessing of an image processor of transformers, found from its settings and from what it does.

    How it resizes and crops is read from its settings. What it then does to each channel is measured on plain pictures,
    and all of it is compared with what the processor itself makes of a picture.

    Raises
    ------
    UsageError
        The settings cannot be described, or the results differ.
    """
    framing = _framing(processor, folder)
    offsets = _processed(processor, torch.zeros(1, 3, *framing.size)).mean((0, 2, 3))
    scales = _processed(processor, torch.ones(1, 3, *framing.size)).mean((0, 2, 3)) - offsets
    found = Preprocessing(framing, tuple((-offsets / scales).tolist()), tuple((1 / scales).tolist()))
    short = round(max(framing.resize, *framing.size) * 1.3)
    picture = _waves(short, short + short // 3 + 1)
    theirs = _processed(processor, picture)
    tolerated = TOLERANCE * float(theirs.max() - theirs.min())
    for reverse in (False, True):
        ours = replace(found, reverse=reverse)(framed(picture, framing))
        if ours.shape == theirs.shape and float((ours - theirs).abs().max()) < tolerated:
            return replace(found, reverse=reverse)
    raise UsageError(
        f"{str(folder)!r}: xcore cannot prepare pictures as its {type(processor).__name__} does",
        "load the model yourself, and pass it to xcore.explain with images that are prepared",
    )


def _framing(processor: Any, folder: Path) -> Framing:
    size, crop = _sides(processor, "size"), _sides(processor, "crop_size")
    resample = int(getattr(processor, "resample", None) or 0)
    kind = type(processor).__name__
    resizes = getattr(processor, "do_resize", False)
    if not resizes or resample not in RESAMPLE:
        what = f"resizes by the filter {resample}, which xcore lacks" if resizes else "does not resize pictures"
        raise UsageError(f"{str(folder)!r}: its image processor {what}", "correct preprocessor_config.json")
    how = RESAMPLE[resample]
    short = size.get("shortest_edge")
    if kind.startswith("ConvNext") and short:  # it crops by itself, and takes large pictures whole
        if short >= 384:
            return Framing((short, short), short, how, whole=True)
        return Framing((short, short), int(short / processor.crop_pct), how, floor=True)
    cropped = bool(getattr(processor, "do_center_crop", False))
    if short and kind.startswith("Levit"):
        short = int(256 / 224 * short)
    if short and cropped and min(crop["height"], crop["width"]) <= short:
        return Framing((crop["height"], crop["width"]), short, how, floor=True)
    if not short and "height" in size:
        whole = (size["height"], size["width"])
        if not cropped:
            return Framing(whole, min(whole), how, whole=True)
        if whole[0] == whole[1] and crop["height"] == crop["width"] <= whole[0]:
            return Framing((crop["height"], crop["width"]), whole[0], how, whole=True, floor=True)
    raise UsageError(
        f"{str(folder)!r}: its image processor resizes to {dict(size)}"
        + (f" and crops {dict(crop)}" if cropped else " without a crop"),
        "correct preprocessor_config.json: all pictures must get the size of the network's input",
    )


def _sides(processor: Any, name: str) -> dict[str, int]:
    """A size of a processor's settings without the entries that say nothing."""
    given = getattr(processor, name, None) or {}
    return {key: int(value) for key, value in dict(given).items() if value}


def _processed(processor: Any, images: Tensor) -> Tensor:
    (made,) = OwnProcessor(processor, len(images)).batches(images, images.device)
    return made["pixel_values"].float()


def _waves(height: int, width: int) -> Tensor:
    """A picture (1, 3, h, w) of waves of 16 pixels along three axes, in which a crop beside the right one shows."""
    y, x = torch.arange(height)[:, None] * torch.ones(width), torch.arange(width)[None] * torch.ones(height, 1)
    phases = torch.stack([y, x + 3, (x + y) / 2])[None] * (2 * torch.pi / 16)
    return phases.sin().div(2).add(0.5)
