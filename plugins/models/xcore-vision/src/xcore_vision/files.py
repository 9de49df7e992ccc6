"""The image files below a folder, with the reason for every file that is none. This module imports no torch."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from xcore.inputs.paths import printable

Skipped = MutableMapping[str, str]
"""File or sample, printable -> why it is skipped."""

TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})
"""Endings of the names of tables: one beside the folders of the classes is no picture that was left out."""


def image_files(folder: Path, endings: frozenset[str], skipped: Skipped, *, top: bool = True) -> list[Path]:
    """The image files in a folder and in the folders below it, in the order of their paths.

    Links to folders are followed. Everything else is named in `skipped`, but for tables and what begins with a dot.

    Parameters
    ----------
    endings
        Endings of the names of image files, in lower case.
    top
        Whether to name the files in the folder itself that are no images; those below it always are.
    """
    found: list[Path] = []
    waiting: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(folder, ())]
    while waiting:
        here, above = waiting.pop()
        try:
            stat = here.stat()
            with os.scandir(here) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(".")]
        except OSError as error:
            skipped[printable(here)] = f"cannot be opened: {error.strerror}"
            continue
        if (stat.st_dev, stat.st_ino) in above:
            skipped[printable(here)] = "a link to a folder that it lies in"
            continue
        for entry in entries:
            path = Path(entry.path)
            kind = _kind(entry)
            if kind == "folder":
                waiting.append((path, (*above, (stat.st_dev, stat.st_ino))))
            elif path.suffix.lower() not in endings:
                if (top or above) and path.suffix.lower() not in TABLES:
                    skipped[printable(path)] = f"not an image file ({path.suffix or 'no suffix'})"
            elif kind != "file":
                skipped[printable(path)] = kind
            else:
                found.append(path)
    return sorted(found)


def _kind(entry: os.DirEntry[str]) -> str:
    """ "folder", "file", or what else it is."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError as error:  # a link to itself
        return f"cannot be opened: {error.strerror}"
    return "not a regular file" if os.path.exists(entry.path) else "a link to nothing"


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # it is too long, or holds a NUL
        return False


def stamp(path: Path) -> str:
    """What identifies the content of a file without reading it: its path, size and time; raises `OSError`."""
    stat = path.stat()
    return f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"


def folders(root: Path) -> list[Path]:
    """The folders in a folder, in the order of their names, but for those that begin with a dot."""
    return sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
