"""Where a language model's files are, and what identifies them. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xcore import hub
from xcore.errors import MissingError, UsageError
from xcore.identity import digest, file_digest, tree_digest

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
        Where its files are.
    gguf
        Name of the GGUF file that holds everything, or an empty string.
    """

    directory: Path
    gguf: str = ""

    @property
    def path(self) -> Path:
        """What messages show."""
        return self.directory / self.gguf


def model_source(argument: str | None) -> Source:
    """The files of `mistral:MODEL`; raises `UsageError` for a file, else as `xcore.hub.model_directory` does."""
    if argument and Path(argument).expanduser().is_file():
        raise UsageError(f"{argument!r} is a file, not a model directory", "a GGUF file is named as gguf:FILE")
    return Source(hub.model_directory(argument or DEFAULT, NEEDS))


def gguf_source(argument: str) -> Source:
    """The file of `gguf:FILE`.

    Raises
    ------
    MissingError
        No such file, or the package that reads it is not installed.
    UsageError
        The file is no GGUF file.
    """
    from importlib.util import find_spec

    path = Path(argument).expanduser()
    if not path.is_file():
        raise MissingError(f"no GGUF file {argument!r}", "gguf:FILE.gguf")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(f"{argument!r} is no GGUF file", "for a model directory write mistral:DIR")
    if find_spec("gguf") is None:
        raise MissingError(f"reading {argument!r} needs the package gguf", "pip install 'xcore-mistral[gguf]'")
    return Source(path.parent, path.name)


def fingerprint(source: Source, options: Options) -> str:
    """Hex digest of the files that make up the model, of the options, and of the code that asks and adapts."""
    code = tree_digest(Path(__file__).parent, (".py",)) + file_digest(Path(hub.__file__).with_name("lora.py"))
    content = file_digest(source.path) if source.gguf else hub.directory_digest(source.directory)
    return digest([options.model_dump(mode="json"), code, content])
