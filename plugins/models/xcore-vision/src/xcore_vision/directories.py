"""Directories of image models of transformers and OpenCLIP, checked before anything is loaded. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from xcore.pretrained.hub import TORCH_WEIGHTS, has_torch_weights, missing_weights, model_directory, read_json

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""The files that `save_pretrained` writes: for an image processor, or (transformers 5) for a whole processor."""
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("tokenizer.model",))
"""Files of which one group makes a tokenizer."""
OPEN_CLIP, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
"""Configuration and weights as OpenCLIP writes them."""


def image_model_directory(argument: str) -> Path:
    """The directory of an image model of transformers: its configuration, its weights and its image processor.

    Parameters
    ----------
    argument
        A folder, or ``ORG/MODEL`` or ``ORG/MODEL@REVISION`` on the Hub. It is downloaded if the local cache lacks it.

    Raises
    ------
    MissingError
        The folder or a file in it does not exist, or the Hub cannot be reached or has no such model.
    UsageError
        The argument is neither a folder nor a Hub id.
    """
    return model_directory(argument, lacking=_lacking, other_weights=[TORCH_WEIGHTS])


def clip_directory(argument: str) -> Path:
    """The directory of an image-text model, as transformers or as OpenCLIP writes it; raises as above."""
    return model_directory(argument, lacking=_lacking_of_clip, other_weights=[TORCH_WEIGHTS, OPEN_CLIP_WEIGHTS])


def is_open_clip(folder: Path) -> bool:
    """Whether only OpenCLIP can read the weights of a directory: it has none for transformers."""
    of_transformers = not missing_weights(folder, "model") or has_torch_weights(folder)
    return (folder / OPEN_CLIP).is_file() and not of_transformers


def model_type(folder: Path) -> str:
    """What transformers calls the kind of model in a directory; empty if its configuration does not say."""
    found = read_json(folder / "config.json").get("model_type")
    return found if isinstance(found, str) else ""


def _lacking(folder: Path) -> str:
    """The first file that an image model needs and a directory lacks, or an empty string."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if (weights := missing_weights(folder, "model")) and not has_torch_weights(folder):
        return weights
    return "" if any((folder / name).is_file() for name in PROCESSORS) else PROCESSORS[0]


def _lacking_of_clip(folder: Path) -> str:
    """The same for an image-text model, which also needs a tokenizer."""
    words = any(all((folder / name).is_file() for name in group) for group in TOKENIZERS)
    if not is_open_clip(folder):
        return _lacking(folder) or ("" if words else TOKENIZERS[0][0])
    if not (folder / OPEN_CLIP_WEIGHTS).is_file():
        return OPEN_CLIP_WEIGHTS
    return "" if words else f"{TOKENIZERS[0][0]} (that of any CLIP model of OpenAI will do)"
