"""Classifiers in one safetensors file: the weights, and in the header how to build and feed the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from xcore.classifier import TorchClassifier, checked_classes
from xcore.errors import UsageError, unknown
from xcore.paths import existing_file
from xcore_vision.function import imported
from xcore_vision.options import FileOptions
from xcore_vision.paths import sidecar
from xcore_vision.view import View
from xcore_vision.weights import load_into, read_tensors
from xcore_vision.zoo import assemble, bare_timm, bare_torchvision

HEADER = "xcore"
"""Key of the safetensors header that holds the description, as JSON."""

KEYS = ("architecture", "arguments", "classes", "mean", "std", "input_size", "resize", "interpolation")


def save_classifier(
    path: str | Path,
    module: nn.Module,
    *,
    architecture: str,
    classes: Sequence[str],
    input_size: int | tuple[int, int] = 224,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    arguments: Mapping[str, Any] | None = None,
) -> Path:
    """Write a classifier as one file that ``file:PATH`` reads back.

    Parameters
    ----------
    path
        The file, usually ``NAME.safetensors``.
    module
        The trained module.
    architecture
        How to build it: ``timm:MODEL``, ``torchvision:MODEL``, or ``python:package.module:function`` (which a reader
        must repeat as an option, since a file must not say what code runs).
    classes
        Names in the order of the logits.
    input_size
        Side, or (height, width), of the input in pixels.
    mean, std
        Of each channel in [0, 1]; the defaults leave images as they are.
    arguments
        Further arguments of the architecture. The number of classes is added for timm and torchvision.
    """
    size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    description = {
        "architecture": architecture,
        "arguments": dict(arguments or {}),
        "classes": list(checked_classes(classes)),
        "input_size": list(size),
        "mean": [float(v) for v in mean],
        "std": [float(v) for v in std],
    }
    # Clones, because weights that share memory cannot be written.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}
    save_file(tensors, path, metadata={HEADER: json.dumps(description)})
    return Path(path)


def file_classifier(options: FileOptions, path: str) -> TorchClassifier:
    """The classifier in a file; the options, then a JSON file beside it, then its header say what it is."""
    file = existing_file(path, "model file")
    about = {**_header(file), **_beside(file)}
    classes = checked_classes(options.classes or about.get("classes") or _no_classes(file))
    module = _build(file, options.architecture, about, len(classes))
    load_into(module, read_tensors(file), str(file))
    return assemble(module, options, _view(about), classes, len(classes), "file")


def _header(file: Path) -> dict[str, Any]:
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(HEADER, "{}")
    except SafetensorError as error:
        raise UsageError(f"{file} is not a safetensors file: {error}", "write it with save_classifier") from error
    return _parsed(text, f"the header of {file}")


def _beside(file: Path) -> dict[str, Any]:
    beside = sidecar(file)
    return _parsed(beside.read_text(encoding="utf-8"), str(beside)) if beside else {}


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where} is not JSON: {error}") from error
    if isinstance(value, list):  # a file of class names alone
        value = {"classes": value}
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a JSON object or a list of class names")
    for key in value:
        if key not in KEYS:
            raise unknown(f"key in {where}:", key, KEYS)
    return value


def _no_classes(file: Path) -> Sequence[str]:
    names = file.with_suffix(".json")
    raise UsageError(f"{file} names no classes", f"set classes=..., or list them in {names}")


def _build(file: Path, wanted: str | None, about: Mapping[str, Any], width: int) -> nn.Module:
    architecture = wanted or about.get("architecture")
    if not architecture:
        raise UsageError(f"{file} names no architecture", "set architecture=timm:MODEL or torchvision:MODEL")
    source, _, name = architecture.partition(":")
    arguments = dict(about.get("arguments") or {})
    if source == "timm":
        return bare_timm(name, {"num_classes": width, **arguments})
    if source == "torchvision":
        return bare_torchvision(name, {"num_classes": width, **arguments})
    if source == "python":
        if wanted is None:  # a file must not say what code runs
            raise UsageError(f"{file} is built by {architecture}", f"if you trust it, set architecture={architecture}")
        module = imported(name)(**arguments)
        if not isinstance(module, nn.Module):
            raise UsageError(f"{architecture} must return a torch.nn.Module, got {type(module).__name__}")
        return module
    raise unknown("architecture source", source, ["timm", "torchvision", "python"])


def _view(about: Mapping[str, Any]) -> View:
    given = about.get("input_size", 224)
    size = (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))
    return View(
        size=size,
        resize=int(about.get("resize", min(size))),
        mean=tuple(about.get("mean", (0.0, 0.0, 0.0))),
        std=tuple(about.get("std", (1.0, 1.0, 1.0))),
        interpolation=about.get("interpolation", "bilinear"),
    )
