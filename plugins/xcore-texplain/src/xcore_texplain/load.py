"""Language models and their tokenizers from directories of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from xcore.errors import MissingError, UsageError
from xcore.guard import seeded
from xcore.hub import quiet


def load_model(auto: Any, folder: Path, what: str) -> Any:
    """A model in float32, in evaluation mode, frozen.

    Raises
    ------
    UsageError
        The directory is damaged, or holds another kind of model or not all of its weights.
    """
    try:
        with seeded(0), quiet("transformers"):
            model, report = auto.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, local_files_only=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{str(folder)!r} holds no {what}: {' '.join(str(error).split())[:300]}") from error
    if lacking := sorted(report["missing_keys"]):
        raise UsageError(f"{str(folder)!r} holds no {what}: it lacks {len(lacking)} tensors, first {lacking[0]!r}")
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a directory; raises `MissingError` if there is none."""
    from transformers import AutoTokenizer

    try:
        with quiet("transformers"):
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        line = " ".join(str(error).split())[:300]
        raise MissingError(f"no tokenizer can be read from {str(folder)!r}: {line}") from error


def words_on_card(folder: Path) -> tuple[int, int] | None:
    """Words of the sentences that the model was trained on, if its ``card.json`` says ``"words": [least, most]``."""
    path = folder / "card.json"
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8")).get("words")
        return (int(said[0]), int(said[1])) if said else None
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(f"{str(path)!r} is damaged: {error}", 'it may say "words": [20, 30]') from error
