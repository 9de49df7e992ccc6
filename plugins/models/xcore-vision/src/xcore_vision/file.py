"""Classifiers in one file of weights: its header, a JSON file beside it or options say how to build the model.

The file is one of safetensors, or one of tensors that `torch.save` wrote, which has no header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from xcore.contract import UsageError, unknown
from xcore.inputs.images import Framing
from xcore.inputs.paths import existing_file
from xcore.models.classifiers import TorchClassifier, checked_classes
from xcore_vision.fingerprint import sidecar
from xcore_vision.function import import_function
from xcore_vision.options import FileOptions
from xcore_vision.preprocessing import Preprocessing
from xcore_vision.weights import is_torch_file, load_into, read_tensors
from xcore_vision.zoo import assemble, bare_timm, bare_torchvision

HEADER = "xcore"
"""Key of the safetensors header that holds the description, as JSON."""

KEYS = ("architecture", "arguments", "classes", "mean", "std", "input_size", "resize", "interpolation")


HOW = "set file.mean and file.std, or mean and std in a JSON file beside it"


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
        How to build the module: ``timm:MODEL``, ``torchvision:MODEL``, or ``python:package.module:function``. Whoever
        loads the file must repeat the last as an option, since a file must not decide what code runs.
    classes
        Names of the classes in the order of the logits.
    input_size
        Side, or (height, width), of the input in pixels.
    mean, std
        Mean and standard deviation of each channel, for images in [0, 1]; the defaults leave images as they are.
    arguments
        Further arguments of the architecture. The number of classes is added for timm and torchvision.

    Returns
    -------
    The path of the file.
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
    """``file:PATH``: the classifier in a file.

    What it is follows from the options, else from a JSON file beside it, else from its header.

    Raises
    ------
    UsageError
        The file does not exist, is no file of weights, needs unpickling, or does not fit the architecture; or nothing
        says what its classes or its architecture are.
    """
    file = existing_file(path, "model file")
    about = {**_header(file), **_beside(file)}
    classes = checked_classes(options.classes or about.get("classes") or _no_classes(file))
    module = _build(file, options.architecture, about, len(classes))
    remarks = load_into(module, read_tensors(file), str(file))
    if options.mean is None and options.std is None and "mean" not in about and "std" not in about:
        remarks.append(
            f"nothing says how {file.name} wants its pictures normalised, so that it gets them in [0, 1]: {HOW}"
        )
    return assemble(module, options, _preprocessing(about), classes, len(classes), "file", remarks)


def _header(file: Path) -> dict[str, Any]:
    if is_torch_file(file):
        return {}
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(HEADER, "{}")
    except SafetensorError as error:
        read_tensors(file)  # which says what it is
        raise UsageError(f"{file} is not a safetensors file: {error}", "write it with save_classifier") from error
    return _parsed(text, f"the header of {file}")


def _beside(file: Path) -> dict[str, Any]:
    beside = sidecar(file)
    return _parsed(beside.read_text(encoding="utf-8"), str(beside)) if beside else {}


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where} is not JSON: {error}", "correct it, or write the file again") from error
    if isinstance(value, list):  # a file of class names alone
        value = {"classes": value}
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a JSON object or a list of class names", "correct it")
    for key in value:
        if key not in KEYS:
            raise unknown(f"key in {where}:", key, KEYS)
    return value


def _no_classes(file: Path) -> Sequence[str]:
    names = file.with_suffix(".json")
    raise UsageError(f"{file} does not name its classes", f"set classes=..., or list them in {names}")


def _build(file: Path, wanted: str | None, about: Mapping[str, Any], width: int) -> nn.Module:
    architecture = wanted or about.get("architecture")
    if not architecture:
        raise UsageError(f"{file} does not name its architecture", "set architecture=timm:MODEL or torchvision:MODEL")
    source, _, name = architecture.partition(":")
    arguments = dict(about.get("arguments") or {})
    if source == "timm":
        return bare_timm(name, {"num_classes": width, **arguments})
    if source == "torchvision":
        return bare_torchvision(name, {"num_classes": width, **arguments})
    if source == "python":
        if wanted is None:  # a file must not decide what code runs
            raise UsageError(
                f"{file} asks to be built by the code of {architecture}",
                f"if you trust this code, set architecture={architecture}",
            )
        module = import_function(name)(**arguments)
        if not isinstance(module, nn.Module):
            raise UsageError(
                f"{architecture} must return a torch.nn.Module, but it returned a {type(module).__name__}",
                "name a function that builds the module",
            )
        return module
    raise unknown("architecture source", source, ["timm", "torchvision", "python"])


def _preprocessing(about: Mapping[str, Any]) -> Preprocessing:
    given = about.get("input_size", 224)
    size = (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))
    framing = Framing(size, int(about.get("resize", min(size))), about.get("interpolation", "bilinear"))
    return Preprocessing(framing, tuple(about.get("mean", (0.0, 0.0, 0.0))), tuple(about.get("std", (1.0, 1.0, 1.0))))
