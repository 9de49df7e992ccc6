"""The files of a pipeline: where they are, whether they are complete, and their fingerprint. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import MissingError, UsageError, file_digest
from xcore.pretrained import hub

if TYPE_CHECKING:
    from xcore_diffusion.options import Options

WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Part -> stem of its weights: `STEM.safetensors`, or `STEM.safetensors.index.json` with several files of weights."""
CONFIGS = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
HINT = "a diffusers StableDiffusionPipeline directory has model_index.json, " + ", ".join(f"{p}/" for p in CONFIGS)


def missing_part(directory: Path) -> str:
    """The first part or file that is missing in a pipeline directory; empty if it is complete."""
    if not (directory / "model_index.json").is_file():
        return "model_index.json"
    for part, config in CONFIGS.items():
        if not (directory / part).is_dir():
            return f"{part}/"
        if not (directory / part / config).is_file():
            return f"{part}/{config}"
    for part, stem in WEIGHTS.items():
        if lacking := hub.missing_weights(directory / part, stem):
            return f"{part}/{lacking}"
    tokenizer = directory / "tokenizer"
    if not (tokenizer / "tokenizer.json").is_file() and not (tokenizer / "vocab.json").is_file():
        return "tokenizer/tokenizer.json"
    return ""


def check(directory: Path) -> dict[str, Any]:
    """Check that a pipeline directory is complete, and return the content of its `model_index.json`.

    Raises
    ------
    MissingError
        There is no such directory, or a part is missing in it.
    UsageError
        It holds a pipeline of another kind.
    """
    if not directory.is_dir():
        raise MissingError(f"there is no pipeline directory {str(directory)!r}", HINT)
    lacking = missing_part(directory)
    if lacking:
        raise MissingError(f"the pipeline directory {str(directory)!r} lacks {lacking}", HINT)
    index = hub.read_json(directory / "model_index.json")
    if index.get("_class_name") != "StableDiffusionPipeline":
        raise UsageError(
            f"{str(directory)!r} holds a {index.get('_class_name')}, not a StableDiffusionPipeline",
            "use Stable Diffusion 1.x or 2.x, or a pipeline of the same shape",
        )
    return index


def from_hub(argument: str) -> Path:
    """The directory of a model on the hub: from the local cache if it is complete there, else downloaded.

    Parameters
    ----------
    argument
        ``ORG/MODEL``, or ``ORG/MODEL@REVISION``.

    Raises
    ------
    MissingError
        The hub cannot be reached, it has no such model, or the model is no complete pipeline with safetensors weights.
    """
    patterns = ["model_index.json", "tokenizer/*", *(f"{p}/{c}" for p, c in CONFIGS.items())]
    for part, stem in WEIGHTS.items():  # neither `.bin` files nor variants
        patterns += [f"{part}/{stem}{end}" for end in (".safetensors", ".safetensors.index.json", "-?????-of-*")]
    directory = hub.from_hub(
        argument, patterns, missing_part, "hf:ORG/MODEL", "name a directory instead: diffusion:DIR"
    )
    check(directory)
    return directory


def fingerprint(directory: Path, options: Options) -> str:
    """The fingerprint: the hex digest of the files of the pipeline and of the options."""
    check(directory)
    h = hashlib.sha256(options.model_dump_json().encode())
    for path in _files(directory):
        h.update(f"{path.relative_to(directory).as_posix()}\0{file_digest(path)}\0".encode())
    return h.hexdigest()[:16]


def _files(directory: Path) -> Iterator[Path]:
    """The files that loading reads, in a fixed order, without variants and other formats that may be beside them."""
    yield directory / "model_index.json"
    for part, config in CONFIGS.items():
        if part in WEIGHTS:
            stem = WEIGHTS[part]
            yield directory / part / config
            yield from sorted((directory / part).glob(f"{stem}.safetensors*"))
            yield from sorted((directory / part).glob(f"{stem}-*.safetensors"))
        else:
            yield from sorted(p for p in (directory / part).iterdir() if p.suffix in {".json", ".txt"})
