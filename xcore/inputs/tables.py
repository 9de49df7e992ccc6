"""Tables of data sets, row by row: CSV, TSV, JSON Lines and Parquet. This module imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from xcore.base.errors import MissingError, UsageError, unknown
from xcore.inputs.encodings import decoded
from xcore.inputs.paths import IMAGE_SUFFIXES

Row = Mapping[str, Any] | str
"""The cells of a row by column, or the reason why it could not be read."""


MAX_COLUMNS = 10_000
"""A table of more is no table of samples, but numbers in another order, or a trap."""


class TableFile(NamedTuple):
    """A table that is being read. Its rows can be read once.

    Attributes
    ----------
    columns
        Heads of the columns, in their order.
    names
        Column -> names of its labels 0, 1, ... where the file holds them, as the library `datasets` writes them.
    rows
        Each row as column -> text or value.
    """

    columns: list[str]
    names: Mapping[str, list[str]]
    rows: Iterator[Row]


def read_table(file: Path, separator: str | None = None, quotes: bool = True, encoding: str = "") -> TableFile:
    """Open a table whose heading names the columns.

    Parameters
    ----------
    file
        A .csv, .tsv, .jsonl, .ndjson or .parquet file.
    separator
        Character between the cells of a CSV file; None = the one that `separator_of` finds.
    quotes
        Whether double quotes enclose cells of a CSV file.
    encoding
        As of `xcore.inputs.encodings.decoded`: bytes that are not UTF-8 become lone surrogates, by which their rows can
        be recognised.

    Raises
    ------
    UsageError
        The name has another ending, the file has no heading, or it cannot be read in its encoding.
    MissingError
        It is a Parquet file, and pyarrow is not installed.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise UsageError(f"{str(file)!r} is no table that can be read", f"its name must end in {', '.join(_READERS)}")
    table = reader(file, separator, quotes, encoding)
    refuse_many_columns(len(table.columns), file.name)
    return table


def refuse_many_columns(count: int, name: str) -> None:
    """Raise `UsageError` for a heading that names more than `MAX_COLUMNS` columns."""
    if count > MAX_COLUMNS:
        raise UsageError(
            f"{name} has {count} columns, more than the {MAX_COLUMNS} that are read", "write one row for each sample"
        )


def first_row(file: Path) -> Mapping[str, Any]:
    """The columns of a table, with the cells of its first row if it can be read; only the beginning is read.

    Raises
    ------
    UsageError, MissingError
        As `read_table` does.
    """
    stat = file.stat()
    return _first_row(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(64)
def _first_row(file: Path, size: int, mtime: int) -> Mapping[str, Any]:
    if file.suffix.lower() not in _READERS:
        read_table(file)  # raises
    if file.suffix.lower() == ".parquet":
        table = read_table(file)
        row = next(table.rows, "")
        return dict.fromkeys(table.columns) | dict(row if not isinstance(row, str) else {})
    with open(file, "rb") as opened:
        lines = _beginning(opened.read(2**20)).splitlines()
    if file.suffix.lower() in (".jsonl", ".ndjson"):
        row = _json_row(next((line for line in lines if line.strip()), ""))
        refuse_many_columns(0 if isinstance(row, str) else len(row), file.name)
        return {} if isinstance(row, str) else row
    rows = list(csv.reader(lines[:2], delimiter=separator_of(file, lines[0] if lines else "")))
    refuse_many_columns(len(rows[0]) if rows else 0, file.name)
    cells = rows[1] if len(rows) > 1 else []
    return dict.fromkeys(rows[0]) | dict(zip(rows[0], cells, strict=False)) if rows else {}


def separator_of(file: Path, heading: str) -> str:
    """The character between the cells: a tab for .tsv, else a comma; a heading without one may have semicolons or tabs.

    Spreadsheets write semicolons where the comma is the decimal mark.
    """
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    return next((mark for mark in (usual, ";", "\t") if mark in heading), usual)


def names_picture(cell: Any) -> bool:
    """Whether a cell of a table is the path of an image file, or holds an image."""
    if isinstance(cell, Mapping):
        return names_picture(cell.get("bytes") or cell.get("path"))
    return isinstance(cell, bytes) or (isinstance(cell, str) and Path(cell.strip()).suffix.lower() in IMAGE_SUFFIXES)


def find_column(given: str | None, usual: Sequence[str], columns: Sequence[str], table: str) -> str:
    """The column that a user named, else the first usual one that exists in any case, else "".

    Raises
    ------
    UsageError
        The table has no column of the name that was given. `table` is its name, for the message.
    """
    if given is not None:
        if given not in columns:
            raise unknown(f"column of {table}:", given, columns)
        return given
    plain = {c.strip().lower(): c for c in reversed(columns)}
    return next((plain[name] for name in usual if name in plain), "")


def plain_cell(value: Any) -> str:
    """A cell as text: whole numbers without a fraction; empty for a missing value, a list or a mapping."""
    if value is None or isinstance(value, list | dict) or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def is_utf8(text: str) -> bool:
    """Whether a text has no lone surrogates, which stand for bytes that are not UTF-8 or come from broken JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def numbers_first(labels: set[str]) -> list[str]:
    """Labels in the order of their numbers if all are numbers, else in alphabetical order."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return sorted(labels)
    if not all(map(isfinite, numbers.values())):  # classes called nan or inf
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))


def _read_csv(file: Path, separator: str | None, quotes: bool, encoding: str) -> TableFile:
    text = decoded(file.read_bytes(), file.name, encoding)
    content = io.StringIO(text, newline="")
    form: dict[str, Any] = {} if quotes else {"quoting": csv.QUOTE_NONE}
    delimiter = separator or separator_of(file, text.partition("\n")[0])
    rows = csv.reader(content, delimiter=delimiter, strict=True, **form)
    try:
        heading = next(rows, None)
    except csv.Error as error:
        raise UsageError(
            f"the heading of {file.name} cannot be read: {error}", "its first line must name the columns"
        ) from error
    if not heading:
        raise UsageError(f"{file.name} is empty", "its first line must name the columns")

    def cells() -> Iterator[Row]:
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"not CSV: {error}"
                continue
            if len(row) > len(heading):
                yield f"it has {len(row)} cells, the heading has {len(heading)}"
            elif row:
                yield dict(zip(heading, row, strict=False))

    return TableFile(heading, {}, cells())


def _read_jsonl(file: Path, separator: str | None, quotes: bool, encoding: str) -> TableFile:
    text = decoded(file.read_bytes(), file.name, encoding)
    rows, seen = [], dict[str, None]()
    for line in text.split("\n"):
        if line.strip():
            rows.append(row := _json_row(line))
            seen.update(dict.fromkeys(() if isinstance(row, str) else row))
            refuse_many_columns(len(seen), file.name)
    columns = list(seen)
    if not columns:
        raise UsageError(f"{file.name} holds no JSON object", "write a JSON object on each line")
    return TableFile(columns, {}, iter(rows))


def _json_row(line: str) -> Row:
    if not is_utf8(line):
        return "not UTF-8"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # a RecursionError comes from very deeply nested brackets
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def _read_parquet(file: Path, separator: str | None, quotes: bool, encoding: str) -> TableFile:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingError(f"pyarrow is needed to read {file.name}", "pip install pyarrow") from None
    try:
        table = parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{file.name} cannot be read as a Parquet file: {str(error).splitlines()[0]}") from error
    rows = (row for batch in table.to_batches(1024) for row in batch.to_pylist())
    return TableFile(list(table.column_names), label_names(table.schema.metadata), rows)


def label_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> names of its labels 0, 1, ..., from the metadata of an Arrow schema that `datasets` wrote."""
    about = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    features = about.get("info", {}).get("features", {})
    return {c: f["names"] for c, f in features.items() if isinstance(f, dict) and "names" in f}


def _beginning(content: bytes) -> str:
    """The text of the beginning of a file, which may end within a character."""
    try:
        return decoded(content, "")
    except UsageError:
        return decoded(content[: len(content) // 4 * 4 - 4], "")


_READERS: Mapping[str, Callable[[Path, str | None, bool, str], TableFile]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
ENDINGS = tuple(_READERS)
"""Endings of the names of tables that can be read, in lower case."""
