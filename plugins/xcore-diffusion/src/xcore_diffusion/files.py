"""A pipeline's files: where they are, whether all parts are there, and what identifies them. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import hub
from xcore.errors import MissingError, UsageError
from xcore.identity import file_digest, tree_digest

if TYPE_CHECKING:
    from xcore_diffusion.options import Options

WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Part -> stem of its weights; `STEM.safetensors`, or `STEM.safetensors.index.json` beside shards."""
CONFIGS = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
HINT = "a diffusers StableDiffusionPipeline directory has model_index.json, " + ", ".join(f"{p}/" for p in CONFIGS)


def missing_part(directory: Path) -> str:
    """Name of the first part or file that a pipeline directory lacks, or an empty string."""
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
    """The content of `model_index.json` of a whole pipeline directory.

    Raises
    ------
    MissingError
        No such directory, or a part is not there.
    UsageError
        A pipeline of another kind.
    """
    if not directory.is_dir():
        raise MissingError(f"no pipeline directory {str(directory)!r}", HINT)
    lacking = missing_part(directory)
    if lacking:
        raise MissingError(f"pipeline directory {str(directory)!r} lacks {lacking}", HINT)
    index = hub.read_json(directory / "model_index.json")
    if index.get("_class_name") != "StableDiffusionPipeline":
        raise UsageError(
            f"{str(directory)!r} holds a {index.get('_class_name')}, not a StableDiffusionPipeline",
            "Stable Diffusion 1.x, 2.x and pipelines of their shape are supported",
        )
    return index


def from_hub(argument: str) -> Path:
    """The directory of a hub model, from the local cache if it is whole there, else fetched.

    Parameters
    ----------
    argument
        ``ORG/MODEL``, or ``ORG/MODEL@REVISION``.

    Raises
    ------
    MissingError
        The hub is out of reach, has no such model, or the model is not a whole pipeline with safetensors weights.
    """
    patterns = ["model_index.json", "tokenizer/*", *(f"{p}/{c}" for p, c in CONFIGS.items())]
    for part, stem in WEIGHTS.items():  # no `.bin`, no variants
        patterns += [f"{part}/{stem}{end}" for end in (".safetensors", ".safetensors.index.json", "-?????-of-*")]
    directory = hub.from_hub(argument, patterns, missing_part, "hf:ORG/MODEL", "give a directory: diffusion:DIR")
    check(directory)
    return directory


def fingerprint(directory: Path, options: Options) -> str:
    """Hex digest of the files that make up the pipeline, of the options, and of the code that draws and adapts."""
    check(directory)
    code = tree_digest(Path(__file__).parent, (".py",)) + file_digest(Path(hub.__file__).with_name("lora.py"))
    h = hashlib.sha256(f"{options.model_dump_json()}\0{code}".encode())
    for path in _files(directory):
        h.update(f"{path.relative_to(directory).as_posix()}\0{file_digest(path)}\0".encode())
    return h.hexdigest()[:16]


def _files(directory: Path) -> Iterator[Path]:
    """The files that loading reads, in a fixed order: not the variants and formats that may lie beside them."""
    yield directory / "model_index.json"
    for part, config in CONFIGS.items():
        if part in WEIGHTS:
            stem = WEIGHTS[part]
            yield directory / part / config
            yield from sorted((directory / part).glob(f"{stem}.safetensors*"))
            yield from sorted((directory / part).glob(f"{stem}-*.safetensors"))
        else:
            yield from sorted(p for p in (directory / part).iterdir() if p.suffix in {".json", ".txt"})
