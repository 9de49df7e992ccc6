"""The table in files, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from xcore.errors import unknown
from xcore.report.data import to_csv, to_json
from xcore.report.markup import latex, markdown
from xcore.report.page import page
from xcore.report.table import Table
from xcore.store import write_text

FORMATS: Mapping[str, Callable[[Table], str]] = {"md": markdown, "csv": to_csv, "json": to_json, "tex": latex}
"""File ending -> renderer."""
PAGE = "marked.html"


def render(table: Table, format: str) -> str:
    """The table as text in one of `FORMATS`; raises `UsageError` with the nearest name for another."""
    if format not in FORMATS:
        raise unknown("table format", format, FORMATS)
    return FORMATS[format](table)


def write_all(table: Table, directory: Path | str) -> list[Path]:
    """Write ``table.md``, ``.csv``, ``.json`` and ``.tex`` into the directory, and return their paths.

    Where texts were explained, also the page `PAGE` that shows them with their words marked.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for ending, renderer in FORMATS.items():
        path = folder / f"table.{ending}"
        write_text(path, renderer(table))
        paths.append(path)
    if any(section.marked for section in table.sections):
        paths.append(folder / PAGE)
        write_text(paths[-1], page(table))
    return paths
