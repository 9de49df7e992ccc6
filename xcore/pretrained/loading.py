"""Loads models and tokenizers of transformers from directories. Never unpickles, and refuses missing weights."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from xcore.base.errors import MissingError, UsageError
from xcore.base.process import variable as variable
from xcore.base.seeding import seeded
from xcore.pretrained.hub import has_torch_weights, quiet


def load_model(auto: Any, folder: Path, what: str, unused: str = "") -> Any:
    """Load a model in float32 and evaluation mode, without gradients to its weights.

    Parameters
    ----------
    auto
        A class of transformers with `from_pretrained`.
    folder
        A directory that `save_pretrained` wrote, with weights in safetensors, or else in torch's own format, of which
        only tensors are read.
    what
        What the model is, for messages, e.g. "causal language model".
    unused
        Tensors whose names begin with this may be missing, as they are not used; empty = none may be missing.

    Raises
    ------
    UsageError
        The directory is damaged, holds another kind of model, or lacks weights of this kind (such as a head).
    """
    import torch
    from safetensors import SafetensorError

    how: dict[str, Any] = {"use_safetensors": not has_torch_weights(folder), "dtype": torch.float32}
    how |= {"output_loading_info": True, "local_files_only": True, "trust_remote_code": False}
    try:
        with seeded(0), quiet("transformers"):  # transformers draws missing weights at random before it reports them
            model, report = auto.from_pretrained(folder, **how)
    except (OSError, ValueError, KeyError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise UsageError(f"{str(folder)!r} holds no {what}: {_line(error)}") from error
    lacking = sorted(key for key in report["missing_keys"] if not (unused and key.startswith(unused)))
    if lacking:
        raise UsageError(
            f"{str(folder)!r} holds no {what}: its file lacks {len(lacking)} tensors, first {lacking[0]!r}",
            "it may have been saved without the head that it was trained with",
        )
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model directory; raises `MissingError` if none can be read."""
    from transformers import AutoTokenizer

    try:
        with quiet("transformers"):
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        hint = "save_pretrained of the tokenizer writes its files"
        raise MissingError(f"no tokenizer can be read from {str(folder)!r}: {_line(error)}", hint) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
