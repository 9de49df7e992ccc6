"""Digests of plain data, files and folders: what results, artifacts and models are identified by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any


def digest(value: Any) -> str:
    """Hex digest of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def plain_data(value: Any) -> Any:
    """Dataclasses and mappings as dicts, at any depth, as `dataclasses.asdict` gives them but without its copies.

    A run may have ten thousand cells, which share most of their parts: each part is made plain once.
    """
    return _plain(value, {})


def _plain(value: Any, known: dict[int, tuple[Any, Any]]) -> Any:
    """As `plain_data` does; `known` has the dataclasses and mappings that were made plain before, by their `id`.

    It has them beside what they became, since an id may only be looked up as long as its object is there.
    """
    if isinstance(value, (str, int, float, NoneType)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(entry, known) for entry in value]
    whole = is_dataclass(value) and not isinstance(value, type)
    if not whole and not isinstance(value, Mapping):
        return value
    if id(value) not in known:
        fields = vars(value) if whole else value
        known[id(value)] = value, {key: _plain(entry, known) for key, entry in fields.items()}
    return known[id(value)][1]


def file_digest(path: Path) -> str:
    """Hex digest of a file's content, kept by path, size and time."""
    stat = path.stat()
    return _file_digest(str(path), stat.st_size, stat.st_mtime_ns)


@cache
def _file_digest(path: str, size: int, mtime: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(root: Path, suffixes: Iterable[str] = (), without: Container[str] = ()) -> str:
    """Hex digest of the files below a folder, names and contents (of these suffixes; of all if none are named).

    Files whose name is in `without` do not count.
    """
    wanted = tuple(suffixes)
    files = sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.name not in without)
    return digest([(str(p.relative_to(root)), file_digest(p)) for p in files if not wanted or p.suffix in wanted])
