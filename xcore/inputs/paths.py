"""Paths that users give, checked: a wrong one is refused in one line that names the nearest right one."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from xcore.base.errors import UsageError

_ENDINGS = "avif bmp dib gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings of the names of image files, in lower case."""


def existing_file(text: str, what: str) -> Path:
    """The path of a file that a user named.

    Parameters
    ----------
    text
        As the user wrote it; ``~`` is the home folder.
    what
        What the file is, for the message, e.g. "list of concepts".

    Raises
    ------
    UsageError
        There is no such file. The hint names the most similar name in its folder.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return path
    raise UsageError(f"no {what} {text!r}" + (" (it is a folder)" if path.is_dir() else ""), _near(path))


def existing_folder(text: str, what: str) -> Path:
    """The path of a folder that a user named; like `existing_file`."""
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    raise UsageError(f"no {what} {text!r}" + (" (it is a file)" if path.is_file() else ""), _near(path))


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and written anywhere, on one line; different paths give different texts.

    File names may hold line breaks, control characters and bytes that are not UTF-8, which Python keeps as lone
    surrogates; they and the backslash are written as in a Python string.
    """
    text = os.fspath(path)
    return text if text.isprintable() and "\\" not in text else "".join(map(_printable, text))


def _printable(c: str) -> str:
    if c == "\\" and os.sep != "\\":
        return "\\\\"
    if "\udc80" <= c <= "\udcff":
        return f"\\x{ord(c) - 0xDC00:02x}"
    if c.isprintable():
        return c
    return c.encode("unicode_escape").decode() if c < "\x80" else f"\\u{ord(c):04x}"


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}"
    near = get_close_matches(path.name, os.listdir(path.parent), n=1, cutoff=0.5)
    return f"did you mean {str(path.with_name(near[0]))!r}?" if near and near[0] != path.name else ""
