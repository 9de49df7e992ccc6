"""A pipeline's files: where they are, whether all parts are there, and what identifies them. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
TIMEOUT = 4.0
"""Seconds to wait for the first answer of the hub."""


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
        path = directory / part / f"{stem}.safetensors"
        index = path.with_name(f"{path.name}.index.json")
        if index.is_file():
            shards = sorted(set(read_json(index)["weight_map"].values()))
            lacking = [s for s in shards if not (index.parent / s).is_file()]
            if lacking:
                return f"{part}/{lacking[0]}"
        elif not path.is_file():
            return f"{part}/{path.name}"
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
    index = read_json(directory / "model_index.json")
    if index.get("_class_name") != "StableDiffusionPipeline":
        raise UsageError(
            f"{str(directory)!r} holds a {index.get('_class_name')}, not a StableDiffusionPipeline",
            "Stable Diffusion 1.x, 2.x and pipelines of their shape are supported",
        )
    return index


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises `UsageError` for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{str(path)!r} is not a JSON object")
    return content


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
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repo, _, revision = argument.partition("@")
    patterns = ["model_index.json", "tokenizer/*", *(f"{p}/{c}" for p, c in CONFIGS.items())]
    for part, stem in WEIGHTS.items():  # no `.bin`, no variants
        patterns += [f"{part}/{stem}{end}" for end in (".safetensors", ".safetensors.index.json", "-?????-of-*")]
    wanted: dict[str, Any] = {"repo_id": repo, "revision": revision or None, "allow_patterns": patterns}
    try:
        directory = Path(snapshot_download(**wanted, local_files_only=True))
        if not missing_part(directory):
            return directory
    except HFValidationError as error:
        raise UsageError(f"{argument!r} is no hub id", "write hf:ORG/MODEL or hf:ORG/MODEL@REVISION") from error
    except LocalEntryNotFoundError:
        pass  # not in the cache: ask the hub
    try:
        # One quick question first: the download itself would try again and again before it gives up.
        HfApi().model_info(repo, revision=revision or None, timeout=TIMEOUT)
        directory = Path(snapshot_download(**wanted, etag_timeout=TIMEOUT))
    except Exception as error:
        # HTTP clients raise kinds of their own; whatever went wrong, the model is not here.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingError(
            f"hub model {argument!r} is not in the local cache and cannot be fetched: {reason}",
            "check the id and the network, or give a directory: diffusion:DIR",
        ) from error
    check(directory)
    return directory


def fingerprint(directory: Path, options: Options) -> str:
    """Hex digest of the files that make up the pipeline, of the options, and of the code that draws and adapts."""
    check(directory)
    h = hashlib.sha256(f"{options.model_dump_json()}\0{tree_digest(Path(__file__).parent, ('.py',))}".encode())
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
