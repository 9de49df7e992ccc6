"""Models and tokenizers of transformers from directories: frozen, complete, quiet, and never unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xcore.errors import MissingError, UsageError
from xcore.guard import seeded
from xcore.hub import quiet


def load_model(auto: Any, folder: Path, what: str, unused: str = "") -> Any:
    """A model in float32, in evaluation mode, without gradients to its weights.

    Parameters
    ----------
    auto
        A class of transformers with `from_pretrained`.
    folder
        What `save_pretrained` wrote, with weights in safetensors.
    what
        What messages call it.
    unused
        Tensors whose names begin so may be missing; empty = none.

    Raises
    ------
    UsageError
        The directory is damaged, holds another kind of model, or lacks weights of this kind (such as a head).
    """
    import torch
    from safetensors import SafetensorError

    try:
        with seeded(0), quiet("transformers"):  # what is lacking is drawn at random before it is reported
            model, report = auto.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, local_files_only=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{str(folder)!r} holds no {what}: {_line(error)}") from error
    lacking = sorted(key for key in report["missing_keys"] if not (unused and key.startswith(unused)))
    if lacking:
        raise UsageError(
            f"{str(folder)!r} holds no {what}: its file lacks {len(lacking)} tensors, first {lacking[0]!r}",
            "it may have been saved without the head that it was trained with",
        )
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a directory; raises `MissingError` if none can be read."""
    from transformers import AutoTokenizer

    try:
        with quiet("transformers"):
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise MissingError(f"no tokenizer can be read from {str(folder)!r}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
