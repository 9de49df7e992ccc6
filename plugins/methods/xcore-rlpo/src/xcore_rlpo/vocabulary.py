"""A file with phrases for seed prompts. This module imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from xcore.contract import MissingError, UsageError


def phrases_in(file: str) -> tuple[str, ...]:
    """The phrases in a text file, each once and in its order: one on each line, without lines that begin with #.

    Raises
    ------
    MissingError
        There is no such file.
    UsageError
        It is no text in UTF-8, or holds no phrase.
    """
    path = Path(file).expanduser()
    hint = "rlpo.vocabulary takes a text file with one phrase on each line"
    try:
        lines = [" ".join(line.split()) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise MissingError(f"there is no vocabulary file {file!r}", hint) from None
    except UnicodeDecodeError:
        raise UsageError(f"the vocabulary file {file!r} is no text in UTF-8", hint) from None
    except OSError as error:
        raise UsageError(f"the vocabulary file {file!r} cannot be read: {error.strerror}", hint) from None
    phrases = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not phrases:
        raise UsageError(f"the vocabulary file {file!r} holds no phrase", hint)
    return phrases
