"""``table:FILE``: a table with a picture, a class and more in each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.contract import UsageError
from xcore.inputs.images import Picture
from xcore.inputs.paths import existing_file, existing_folder, printable
from xcore.inputs.tables import Row, find_column, read_table
from xcore_vision.files import is_file, stamp
from xcore_vision.metadata import FILE, LONGEST, Described, describe_rows
from xcore_vision.options import ColumnOptions, TableOptions
from xcore_vision.pictures import Kept, Pictures, Record, Source

BYTES = ("image", "img", "picture", "bytes", "image_bytes", "pixel_values")
"""Usual columns of pictures that are in the table themselves."""


class Table(Pictures):
    """A .csv, .tsv, .jsonl or .parquet file whose rows name pictures, or hold them; see `Pictures` for the splits.

    Parameters
    ----------
    options
        Columns, and the options of every data set of pictures.
    path
        The file.

    Raises
    ------
    UsageError
        There is no such file, it has another ending, it lacks a column, or no row has a picture and a class.
    MissingError
        It is a Parquet file, and pyarrow is not installed.
    """

    def __init__(self, options: TableOptions, path: str) -> None:
        file = existing_file(path, "table")
        columns, names, rows = read_table(file, options.separator)
        image = picture_column(options.image, columns, file.name)
        folder = existing_folder(options.images, "folder of pictures") if options.images else file.parent
        skipped: dict[str, str] = {}
        shelf = Cells(stamp(file.resolve()))
        records, attributes = records_of_rows(options, file.name, folder, columns, names, rows, image, shelf, skipped)
        super().__init__(options, str(path), str(file.resolve()), records, skipped=skipped, attributes=attributes)


class Cells:
    """Pictures in the cells of a table, by the number of the row."""

    def __init__(self, stamp: str) -> None:
        self.stamp = stamp
        self._kept: dict[int, bytes] = {}

    def put(self, row: int, value: bytes) -> None:
        self._kept[row] = value

    def picture(self, row: int) -> Picture:
        return self._kept[row]


def picture_column(given: str | None, columns: Sequence[str], table: str) -> str:
    """The column of the pictures; raises `UsageError` if there is none."""
    found = find_column(given, (*FILE, *BYTES), columns, table)
    if not found:
        shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
        raise UsageError(f"{table} has no column of pictures", f"name it: image=COLUMN, one of {shown}")
    return found


def records_of_rows(
    options: ColumnOptions,
    table: str,
    folder: Path,
    columns: Sequence[str],
    names: Mapping[str, Sequence[str]],
    rows: Iterator[Row],
    image: str,
    cells: Cells,
    skipped: dict[str, str],
) -> tuple[list[Record], tuple[str, ...]]:
    """The pictures of a table, and the names of their attributes.

    Parameters
    ----------
    table, columns, names, rows
        As `xcore.inputs.tables.read_table` gives them.
    folder
        Where paths in the table begin.
    image
        The column of the pictures: paths, bytes, or mappings with ``bytes`` and ``path`` as `datasets` writes them.
    cells
        Takes the bytes.
    skipped
        Takes the rows without a picture or a class.
    """
    found = describe_rows(options, table, folder, columns, names, rows, image)
    skipped.update(found.skipped)
    records = []
    for described in found.rows:
        where = f"{table}, row {described.row}"
        source = _source(described.name, described.row, folder, cells)
        label = described.label if found.labelled else Path(table).stem
        if isinstance(source, str):
            skipped[where] = source
        elif not label:
            skipped[where] = "no class"
        else:
            shown = printable(described.name) if isinstance(described.name, str) else str(described.row)
            mask = folder / described.mask if isinstance(described.mask, str) else None
            records.append(_record(f"{table}/{shown}", source, label, mask, described))
    return _once(records, skipped), found.attributes


def _record(name: str, source: Source, label: str, mask: Path | None, row: Described) -> Record:
    return Record(name, source, label, row.split, row.group, row.caption, mask, row.attributes)


def _source(cell: Any, row: int, folder: Path, cells: Cells) -> Source | str:
    """Where a picture is, or why there is none."""
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path") or ""
    if isinstance(cell, bytes):
        cells.put(row, cell)
        return Kept(cells, row)
    if not isinstance(cell, str):
        return f"its picture is of type {type(cell).__name__}, neither a path nor bytes"
    return folder / cell if is_file(folder / cell) else f"no file '{printable(folder / cell[:LONGEST])}'"


def _once(records: Sequence[Record], skipped: dict[str, str]) -> list[Record]:
    """The records without those whose picture is in an earlier row: an id names one picture."""
    found: dict[str, Record] = {}
    for record in records:
        if found.setdefault(record.id, record) is not record:
            skipped[f"{record.id} again"] = "it is in another row, too"
    return list(found.values())
