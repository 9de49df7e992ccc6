"""What identifies a model or a folder, without loading it: no torch here."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xcore.errors import MissingError
from xcore.hub import directory_digest, model_directory
from xcore.identity import digest, file_digest, tree_digest
from xcore.paths import existing_file, existing_folder
from xcore_vision.paths import import_path, sidecar, split_function


def timm(options: Any, model: str) -> str:
    return _zoo("timm", options, model)


def torchvision(options: Any, model: str) -> str:
    return _zoo("torchvision", options, model)


def weights_file(options: Any, path: str) -> str:
    file = existing_file(path, "model file")
    beside = sidecar(file)
    truth = file.with_name("truth.json")  # what a data set may know of this classifier; results are judged by it
    parts = [code(), *(file_digest(p) if p and p.is_file() else None for p in (file, beside, truth))]
    architecture = options.architecture or ""
    return digest([*parts, _installed("timm"), _installed("torchvision"), _source(architecture)])


def function(options: Any, target: str) -> str:
    return digest([code(), target, _source(f"python:{target}")])


def folder(options: Any, directory: str) -> str:
    roots = [existing_folder(directory, "image folder")]
    if options.concepts:
        roots.append(existing_folder(options.concepts, "concept folder"))
    words = file_digest(existing_file(options.vocabulary, "vocabulary file")) if options.vocabulary else None
    return digest([code(), [_listing(root) for root in roots], words])


def pretrained(options: Any, argument: str) -> str:
    folder = model_directory(argument)
    return digest([code(), directory_digest(folder)])


def _zoo(package: str, options: Any, model: str) -> str:
    checkpoint = file_digest(existing_file(options.checkpoint, "checkpoint")) if options.checkpoint else None
    return digest([code(), package, _installed(package), model, checkpoint])


def code() -> str:
    """How pictures are read and normalised is our code, so an edit of it changes every fingerprint."""
    return tree_digest(Path(__file__).parent, (".py",))


def _installed(package: str) -> str:
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
        raise MissingError(f"no module {module!r}", "run from its folder, or install it")
    return file_digest(Path(spec.origin)) if spec.origin and Path(spec.origin).is_file() else module


def _listing(root: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all files below a folder."""
    found = []
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_file():
                stat = path.stat()
                found.append((str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns))
    return sorted(found)
