"""The phrases that evidence is about: your own, those of a file or of the data set, or everyday attributes.

This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xcore.contract import MissingError, UsageError
from xcore.inputs.everyday import EVERYDAY

if TYPE_CHECKING:
    from xcore.contract import Task


def candidates(
    task: Task, given: Sequence[str], file: str, option: str, own: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The phrases without the class name, and notes of where they come from if it is not the data set.

    Parameters
    ----------
    given
        The user's own phrases, which are kept as they are.
    file
        File with a phrase on each line; empty = the vocabulary of the data set, or everyday visual attributes for
        pictures if it has none.
    option
        Name of the option that names the file, for messages, such as ``surrogate.vocabulary``.
    own
        How users give their own phrases, for messages, such as ``--set surrogate.phrases=a,b,c``.

    Raises
    ------
    MissingError
        There are no phrases, or all of them contain the class name.
    """
    if given:
        return tuple(dict.fromkeys(given)), ()
    known, source, notes = task.vocabulary, "the data set", tuple[str, ...]()
    if file:
        known, source = phrases_in(file, option), f"the vocabulary file {file!r}"
        notes = (f"{len(known)} phrases come from {source}",)
    elif not known and task.samples.modality == "image":
        known = EVERYDAY
        notes = (f"the phrases are {len(known)} everyday visual attributes, as the data set has no vocabulary",)
    phrases = without_class_name(known, task.target_name)
    if not phrases:
        why = "all its phrases contain the class name" if known else "it has no vocabulary"
        raise MissingError(f"{source} offers no phrases: {why}", f"give your own with {own}")
    return phrases, notes


def without_class_name(phrases: Sequence[str], name: str) -> tuple[str, ...]:
    """The phrases that do not contain the class name, in upper or lower case; each once.

    A name with underscores (polar_bear) is also looked for with spaces, as people and models write it.
    """
    names = {name.lower(), name.lower().replace("_", " ")}
    return tuple(dict.fromkeys(p for p in phrases if not any(n in p.lower() for n in names)))


def phrases_in(file: str, option: str) -> tuple[str, ...]:
    """The phrases in a text file, each once and in its order: one on each line, without lines that begin with #.

    Parameters
    ----------
    option
        Name of the option that names the file, for messages.

    Raises
    ------
    MissingError
        There is no such file.
    UsageError
        It is no text in UTF-8, or holds no phrase.
    """
    path = Path(file).expanduser()
    hint = f"{option} takes a text file with one phrase on each line"
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
