"""The files of a language model: where they are, and their fingerprint. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xcore.contract import MissingError, UsageError, digest, file_digest
from xcore.pretrained import hub

if TYPE_CHECKING:
    from xcore_mistral.options import Options

DEFAULT = "mistralai/Mistral-7B-Instruct-v0.2"
NEEDS = ("config.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Source:
    """A model on disk.

    Parameters
    ----------
    directory
        The directory of its files.
    gguf
        Name of the GGUF file with model and tokenizer; empty for a model directory.
    """

    directory: Path
    gguf: str = ""

    @property
    def path(self) -> Path:
        """The path that messages show."""
        return self.directory / self.gguf


def model_source(argument: str | None) -> Source:
    """The files of `mistral:MODEL`; None = the default model.

    Raises
    ------
    UsageError
        The argument names a file.
    MissingError
        See `xcore.pretrained.hub.model_directory`.
    """
    if argument and Path(argument).expanduser().is_file():
        raise UsageError(f"{argument!r} is a file, not a model directory", "for a GGUF file write gguf:FILE")
    return Source(hub.model_directory(argument or DEFAULT, NEEDS))


def gguf_source(argument: str) -> Source:
    """The file of `gguf:FILE`.

    Raises
    ------
    MissingError
        There is no such file, or the package that reads it is not installed.
    UsageError
        It is no GGUF file.
    """
    from importlib.util import find_spec

    path = Path(argument).expanduser()
    if not path.is_file():
        raise MissingError(f"there is no GGUF file {argument!r}", "name one as gguf:FILE.gguf")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(f"{argument!r} is no GGUF file", "for a model directory write mistral:DIR")
    if find_spec("gguf") is None:
        raise MissingError(f"reading {argument!r} needs the package gguf", "pip install 'xcore-mistral[gguf]'")
    return Source(path.parent, path.name)


def fingerprint(source: Source, options: Options) -> str:
    """The fingerprint: the hex digest of the files of the model and of the options."""
    content = file_digest(source.path) if source.gguf else hub.directory_digest(source.directory)
    return digest([options.model_dump(mode="json"), content])
