"""The files of a Segment Anything model, and what identifies it. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xcore.errors import MissingError
from xcore.hub import directory_digest, model_directory
from xcore.identity import digest, file_digest

if TYPE_CHECKING:
    from xcore_eac.options import SamOptions

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Of either name, by the version of transformers that wrote it."""


def found(name: str) -> Path:
    """The directory of a model: a folder that `save_pretrained` wrote, or a hub id that is cached or fetched.

    Raises
    ------
    MissingError
        It is not there, or a file of it, or the library that would fetch it.
    UsageError
        The name is neither a folder nor a hub id.
    """
    try:
        directory = model_directory(name)
    except ImportError as error:
        raise MissingError(f"models of the hub need {error.name}", "pip install 'xcore-eac[sam]'") from error
    if not any((directory / p).is_file() for p in PROCESSORS):
        raise MissingError(
            f"model directory {str(directory)!r} lacks {PROCESSORS[0]}", "the processor's save_pretrained writes it"
        )
    return directory


def fingerprint(name: str, options: SamOptions) -> str:
    """Hex digest of the files that would be loaded, of the options that matter, and of the code that asks the model."""
    plain = options.model_dump(mode="json", exclude={"device", "points_per_batch"})
    return digest([directory_digest(found(name)), plain, file_digest(Path(__file__).with_name("sam.py"))])
