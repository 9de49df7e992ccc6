"""Model directories in the format of transformers: a folder, or a hub id that is cached or fetched at once.

Imports no torch, so that a card's fingerprint may use it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from xcore.errors import MissingError, UsageError
from xcore.identity import digest, file_digest

PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]
"""What is fetched: no pickled weights."""
TIMEOUT = 4.0
"""Seconds to wait for the first answer of the hub."""


def model_directory(argument: str, needs: Sequence[str] = ("config.json",)) -> Path:
    """The directory of a model that `save_pretrained` wrote.

    Parameters
    ----------
    argument
        A folder, or ``ORG/MODEL`` or ``ORG/MODEL@REVISION`` on the hub; the local cache is asked first.
    needs
        Files that must be there beside the weights.

    Raises
    ------
    MissingError
        The folder or a file in it is not there, or the hub is out of reach or has no such model.
    UsageError
        The argument is neither a folder nor a hub id.
    """
    folder = Path(argument).expanduser()
    if not folder.is_dir():
        if argument.startswith((".", "/", "~")) or argument.count("/") > 1:
            raise MissingError(
                f"no model directory {argument!r}", "give a folder that save_pretrained wrote, or ORG/MODEL"
            )
        folder = _from_hub(argument, needs)
    if lacking := missing_file(folder, needs):
        raise MissingError(f"model directory {str(folder)!r} lacks {lacking}", "save_pretrained writes all of them")
    return folder


def missing_file(folder: Path, needs: Sequence[str]) -> str:
    """The first file that a model directory lacks, or an empty string."""
    for name in needs:
        if not (folder / name).is_file():
            return name
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return next((s for s in shards if not (folder / s).is_file()), "")
    return "" if (folder / "model.safetensors").is_file() else "model.safetensors"


def directory_digest(folder: Path) -> str:
    """Digest of the files that loading reads."""
    files = sorted(p for pattern in PATTERNS for p in folder.glob(pattern))
    return digest([(p.name, file_digest(p)) for p in files])


def _from_hub(argument: str, needs: Sequence[str]) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repo, _, revision = argument.partition("@")
    try:
        cached = Path(
            snapshot_download(repo, revision=revision or None, allow_patterns=PATTERNS, local_files_only=True)
        )
        if not missing_file(cached, needs):
            return cached
    except HFValidationError as error:
        raise UsageError(f"{argument!r} is no hub id", "write ORG/MODEL or ORG/MODEL@REVISION") from error
    except LocalEntryNotFoundError:
        pass  # not in the cache: ask the hub
    try:
        # One quick question first: the download itself would try again and again before it gives up.
        HfApi().model_info(repo, revision=revision or None, timeout=TIMEOUT)
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=PATTERNS, etag_timeout=TIMEOUT))
    except Exception as error:
        # HTTP clients raise kinds of their own; whatever went wrong, the model is not here.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingError(
            f"hub model {argument!r} is not in the local cache and cannot be fetched: {reason}",
            "check the id and the network, or give a model directory",
        ) from error
