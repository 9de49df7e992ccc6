"""The table in files, each of which is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from xcore.base.errors import unknown
from xcore.base.files import write_if_changed
from xcore.report.data import to_csv, to_json, to_parquet
from xcore.report.markup import latex, markdown
from xcore.report.table import Table

FORMATS: Mapping[str, Callable[[Table], str]] = {"md": markdown, "csv": to_csv, "json": to_json, "tex": latex}
"""File ending -> renderer."""
PARQUET = "parquet"
"""The format that is no text: `write_parquet` writes it to a file, and only on request."""


def render(table: Table, format: str) -> str:
    """The table as text in one of `FORMATS`; raises `UsageError` with the nearest name for any other format."""
    if format not in FORMATS:
        raise unknown("text format of a table", format, FORMATS)
    return FORMATS[format](table)


def check_format(format: str) -> None:
    """Raise `UsageError` with the nearest name unless this is one of `FORMATS` or `PARQUET`."""
    if format not in (*FORMATS, PARQUET):
        raise unknown("table format", format, [*FORMATS, PARQUET])


def write_all(table: Table, directory: Path | str) -> list[Path]:
    """Write ``table.md``, ``.csv``, ``.json`` and ``.tex`` into the directory, and return their paths."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for ending, renderer in FORMATS.items():
        path = folder / f"table.{ending}"
        write_if_changed(path, renderer(table))
        paths.append(path)
    return paths


def write_parquet(table: Table, directory: Path | str) -> Path:
    """Write ``table.parquet`` into the directory, with the columns of ``table.csv``, and return its path.

    Raises
    ------
    MissingError
        If pyarrow is not installed.
    """
    path = Path(directory) / f"table.{PARQUET}"
    unfinished = path.with_name(f".writing-{path.name}")
    try:
        unfinished.write_bytes(to_parquet(table))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
