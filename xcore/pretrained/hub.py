"""Model directories in the format of transformers: a folder, or the id of a model on the Hugging Face hub.

Imports no torch, so that the fingerprint on a card may use it.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from xcore.base.digests import digest, file_digest
from xcore.base.errors import MissingError, UsageError

PATTERNS = ["*.json", "*.txt", "*.jinja", "*.model", "model*.safetensors"]
"""The files that are downloaded: neither pickled weights nor copies of the weights for other libraries."""
TORCH_WEIGHTS = "pytorch_model*.bin"
"""Weights in torch's own format, which the loaders that ask for them read with ``weights_only``."""
TIMEOUT = 4.0
"""Seconds to wait for the first answer of the hub."""
_looking_only = ContextVar("looking_only", default=False)


@contextmanager
def looking_only() -> Iterator[None]:
    """Inside the `with` block, models are looked for in the local caches, and nothing is fetched."""
    token = _looking_only.set(True)
    try:
        yield
    finally:
        _looking_only.reset(token)


def may_fetch() -> bool:
    """Whether models may be fetched; where not, a fingerprint says which files of a component are missing."""
    return not _looking_only.get()


def model_directory(
    argument: str,
    needs: Sequence[str] = ("config.json",),
    *,
    lacking: Callable[[Path], str] | None = None,
    other_weights: Sequence[str] = (),
) -> Path:
    """The directory of a model that `save_pretrained` wrote.

    Parameters
    ----------
    argument
        A folder, or ``ORG/MODEL`` or ``ORG/MODEL@REVISION`` on the hub. It is downloaded if the local cache lacks it.
    needs
        Files that it must contain beside the weights.
    lacking
        Names the first file that a directory lacks, or gives an empty string; None = `needs`, and weights in
        safetensors.
    other_weights
        Patterns of files that are downloaded, too, where the model would lack something without them.

    Raises
    ------
    MissingError
        The folder or a file in it does not exist, or the hub cannot be reached or has no such model.
    UsageError
        The argument is neither a folder nor a hub id.
    """
    missing = lacking or (lambda found: missing_file(found, needs))
    folder = Path(argument).expanduser()
    if not folder.is_dir():
        if argument.startswith((".", "/", "~")) or argument.count("/") > 1:
            raise MissingError(
                f"no model directory {argument!r}", "give a folder that save_pretrained wrote, or ORG/MODEL"
            )
        folder = from_hub(argument, PATTERNS, missing, "ORG/MODEL", "give a model directory")
        if other_weights and missing(folder):
            every = [*PATTERNS, *other_weights]
            folder = from_hub(argument, every, missing, "ORG/MODEL", "give a model directory")
    if name := missing(folder):
        raise MissingError(f"model directory {str(folder)!r} lacks {name}", "save_pretrained writes all of them")
    return folder


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Silence log messages and progress bars of libraries ("transformers", "diffusers") inside the `with` block."""
    loggers = [importlib.import_module(f"{name}.utils.logging") for name in libraries]
    levels = [logger.get_verbosity() for logger in loggers]
    bars = [logger.is_progress_bar_enabled() for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.set_verbosity(logging.CRITICAL)
                logger.disable_progress_bar()
            yield
        finally:
            for logger, level, bar in zip(loggers, levels, bars, strict=True):
                logger.set_verbosity(level)
                if bar:
                    logger.enable_progress_bar()


def missing_file(folder: Path, needs: Sequence[str]) -> str:
    """Name of the first file that a model directory lacks of `needs` and of the weights, or an empty string."""
    for name in needs:
        if not (folder / name).is_file():
            return name
    return missing_weights(folder, "model")


def missing_weights(folder: Path, stem: str, ending: str = "safetensors") -> str:
    """Name of the first missing file of ``STEM.ENDING`` or of its shards, or an empty string."""
    index = folder / f"{stem}.{ending}.index.json"
    if index.is_file():
        shards = sorted(set(read_json(index)["weight_map"].values()))
        return next((s for s in shards if not (folder / s).is_file()), "")
    return "" if (folder / f"{stem}.{ending}").is_file() else f"{stem}.{ending}"


def has_torch_weights(folder: Path) -> bool:
    """Whether a model directory has its weights in torch's own format only, of which only tensors are ever read."""
    return bool(missing_weights(folder, "model")) and not missing_weights(folder, "pytorch_model", "bin")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; raises `UsageError` for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{str(path)!r} is not a JSON object")
    return content


def directory_digest(folder: Path) -> str:
    """Digest of the files of a model directory that are read when it is loaded."""
    patterns = [*PATTERNS, TORCH_WEIGHTS] if has_torch_weights(folder) else PATTERNS
    files = sorted(p for pattern in patterns for p in folder.glob(pattern))
    return digest([(p.name, file_digest(p)) for p in files])


def from_hub(argument: str, patterns: Sequence[str], missing: Callable[[Path], str], form: str, instead: str) -> Path:
    """The directory of a hub model: from the local cache if the model is complete there, else downloaded.

    Parameters
    ----------
    argument
        ``ORG/MODEL``, or ``ORG/MODEL@REVISION``.
    patterns
        Files to download.
    missing
        Names the first file that a directory lacks, or gives an empty string. A downloaded directory is not checked.
    form, instead
        For the messages: how a hub id is written, e.g. ``ORG/MODEL``, and what the user may do without the hub.

    Raises
    ------
    MissingError
        The hub cannot be reached or has no such model.
    UsageError
        The argument is no hub id.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repo, _, revision = argument.partition("@")
    wanted: dict[str, Any] = {"repo_id": repo, "revision": revision or None, "allow_patterns": list(patterns)}
    try:
        cached = Path(snapshot_download(**wanted, local_files_only=True))
        if not missing(cached):
            return cached
    except HFValidationError as error:
        raise UsageError(f"{argument!r} is no hub id", f"write {form} or {form}@REVISION") from error
    except LocalEntryNotFoundError:
        pass  # not in the cache: ask the hub
    fetch = f"hf download {repo}" + (f" --revision {revision}" if revision else "")
    if not may_fetch():
        raise MissingError(
            f"hub model {argument!r} is not in the local cache",
            f"fetch it with `{fetch}` where there is a network, or {instead}",
        )
    try:
        # A quick request first: without a network, the download itself would retry for a long time.
        HfApi().model_info(repo, revision=revision or None, timeout=TIMEOUT)
        return Path(snapshot_download(**wanted, etag_timeout=TIMEOUT))
    except Exception as error:
        # HTTP clients raise exceptions of their own. Whatever went wrong, the model is not here.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingError(
            f"hub model {argument!r} is not in the local cache and cannot be fetched: {reason}",
            f"check the id; fetch it with `{fetch}` where there is a network; or {instead}",
        ) from error
