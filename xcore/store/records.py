"""Records: JSON files that say themselves whether they are whole, and the checksums of the files beside them.

The last key of a record is ``sum``: the SHA-256 digest of all bytes in front of the comma before it. A record that
describes other files has their sizes and digests under ``sums``. Records of schema 1 have neither, and are still read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xcore.base.digests import file_digest
from xcore.base.errors import UsageError
from xcore.base.files import as_json, write_text
from xcore.base.shapes import ShapeError, check_shape

SCHEMA = 2
"""Written into every record. Since 2, records have checksums."""
_SUM = b',\n "sum": "'
_END = b'"\n}'


class Damaged(UsageError):
    """A file of the store is not what was written: it can only be made again."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} is damaged: {what}", "remove it and run again")


def write_record(path: Path, value: Mapping[str, Any], *, sync: bool = True, lines: bool = False) -> None:
    """Write a record with its schema and checksum; whole or not at all.

    See `xcore.base.files.write_text` for `sync`, and `xcore.base.files.as_json` for `lines`.
    """
    text = as_json({**value, "schema": SCHEMA}, lines=lines).removesuffix("\n}")
    total = _digest(text.encode("utf-8", "backslashreplace"))
    write_text(path, f"{text}{_SUM.decode()}{total}{_END.decode()}", sync=sync)


def read_record(path: Path, shape: Mapping[str, Any] | type | None = None) -> dict[str, Any]:
    """Read a record and check it.

    Parameters
    ----------
    shape
        Keys that it must have, and their types, or a dataclass (see `xcore.base.shapes.check_shape`).

    Raises
    ------
    Damaged
        It cannot be read, its checksum is wrong, or it is not of this shape.
    UsageError
        It was written by a newer version of xcore.
    """
    try:
        content = path.read_bytes()
        plain = json.loads(content, parse_constant=_refuse)
    except OSError as error:
        raise Damaged(path, error.strerror or str(error)) from None
    except RecursionError:
        raise Damaged(path, "it is nested too deeply") from None
    except ValueError as error:  # no JSON, no UTF-8, or a number that Python refuses to read
        raise Damaged(path, f"it is not JSON ({error})") from None
    sum_is_right = _sum_is_right(content)
    if sum_is_right is False:
        raise Damaged(path, "its checksum is wrong")
    try:
        check_shape(plain, {})
        refuse_newer(plain, path)
        plain.setdefault("schema", 1)
        if plain["schema"] >= 2 and not sum_is_right:
            raise Damaged(path, "its checksum is missing")
        check_shape(plain, shape or {})
        _check_sums(plain.get("sums", {}))
    except ShapeError as error:
        raise Damaged(path, str(error)) from None
    plain.pop("sum", None)
    return dict(plain)


def refuse_newer(plain: Mapping[str, Any], path: Path) -> None:
    """Raise `UsageError` if a record was written by a newer version of xcore."""
    number = plain.get("schema", 1)
    check_shape(number, int, "schema")
    if number > SCHEMA:
        raise UsageError(f"{path} has schema {number}, this xcore reads up to {SCHEMA}", "install a newer xcore")


def sums_of(folder: Path, names: Iterable[str]) -> dict[str, list[Any]]:
    """Name of a file -> its size and digest."""
    return {name: [(folder / name).stat().st_size, file_digest(folder / name)] for name in sorted(names)}


def _check_sums(sums: Any) -> None:
    """Raise `ShapeError` if the checksums of a record are not as `sums_of` gives them."""
    check_shape(sums, dict[str, list[Any]], "sums")
    for name, kept in sums.items():
        if [type(one) for one in kept] != [int, str]:
            raise ShapeError("must be a size and a checksum", f"sums.{name}")


def check_files(folder: Path, sums: Mapping[str, list[Any]], record: Path, *, every: bool = True) -> None:
    """Raise `Damaged` if a file is not there, or not as it was when its record was written.

    Parameters
    ----------
    sums
        What `sums_of` gave, as `read_record` has checked it.
    record
        The record that holds them. It was written last.
    every
        Also read files that were not touched since the record was written; else only their sizes are compared, which
        takes no time, and not what the disk did to them.
    """
    try:
        written = os.stat(record).st_mtime_ns
    except OSError as error:
        raise Damaged(record, str(error)) from None
    for name, kept in sums.items():
        path = f"{folder}/{name}"  # no `Path`: a run of many cells has many files
        try:
            stat = os.stat(path)
            changed = stat.st_size != kept[0] or (
                (every or stat.st_mtime_ns > written) and file_digest(Path(path)) != kept[1]
            )
        except OSError as error:
            raise Damaged(Path(path), error.strerror or str(error)) from None
        if changed:
            raise Damaged(Path(path), "its checksum is wrong")


def _sum_is_right(content: bytes) -> bool | None:
    """Whether a record has the content that it had when it was written; None if it has no checksum."""
    head, found, rest = content.rpartition(_SUM)
    if not found or not rest.endswith(_END):
        return None
    return rest.removesuffix(_END).decode("ascii", "replace") == _digest(head)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
