"""``hfdisk:DIR``: a data set that ``save_to_disk`` of the library `datasets` wrote. Arrow files are read in place."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xcore.contract import MissingError, UsageError, unknown
from xcore.inputs.images import Picture, Unreadable
from xcore.inputs.paths import existing_folder, printable
from xcore_vision.files import stamp
from xcore_vision.metadata import describe_rows
from xcore_vision.options import SavedOptions
from xcore_vision.pictures import Kept, Pictures, Record
from xcore_vision.splits import MARKS


class Saved(Pictures):
    """A `Dataset` or `DatasetDict` on disk, whose splits are kept; see `Pictures` for the splits of a single one.

    Pictures stay on disk until they are asked for, and nothing in the files is executed.

    Parameters
    ----------
    options
        Columns, and the options of every data set of pictures.
    directory
        The folder that ``save_to_disk`` wrote.

    Raises
    ------
    UsageError
        It is no such folder, or has no column of pictures.
    MissingError
        pyarrow is not installed.
    """

    def __init__(self, options: SavedOptions, directory: str) -> None:
        root = existing_folder(directory, "saved data set")
        skipped: dict[str, str] = {}
        records: list[Record] = []
        attributes: dict[str, None] = {}
        parts = _parts(root)
        for split, folder in parts.items():
            name = printable(root.resolve().name) + (f"/{printable(split)}" if split else "")
            mark = MARKS.get(split.partition("[")[0].lower())
            if split and mark is None and len(parts) > 1:
                skipped[name] = f"its name is none of {', '.join(MARKS)}"
                continue
            part = ArrowPictures(folder, options.image)
            found = describe_rows(options, name, folder, part.columns, part.names, part.rows(), part.column)
            skipped.update(found.skipped)
            attributes |= dict.fromkeys(found.attributes)
            mask = next((part.other(row.mask) for row in found.rows if row.mask in part.others), None)
            order = [found.attributes.index(a) if a in found.attributes else None for a in attributes]
            for row in found.rows:
                label = row.label if found.labelled else printable(root.resolve().name)
                if not label:
                    skipped[f"{name}, row {row.row}"] = "no class"
                    continue
                records.append(
                    Record(
                        f"{name}/{row.name}",
                        Kept(part, row.name),
                        label,
                        row.split or mark,
                        row.group,
                        row.caption,
                        Kept(mask, row.name) if mask is not None else None,
                        tuple(None if at is None else row.attributes[at] for at in order),
                    )
                )
        super().__init__(
            options, directory, str(root.resolve()), records, skipped=skipped, attributes=tuple(attributes)
        )


class ArrowPictures:
    """The pictures in one column of a data set on disk (protocol `xcore_vision.pictures.Shelf`).

    Parameters
    ----------
    folder
        The folder with ``state.json``.
    column
        The column of the pictures; None = the first that holds some.
    """

    def __init__(self, folder: Path, column: str | None) -> None:
        self._folder = folder
        self._table, files = _arrow(folder)
        self.stamp = "\0".join(stamp(f.resolve()) for f in files)
        features = _features(folder, self._table)
        self.columns = list(self._table.column_names)
        self.names = {c: f["names"] for c, f in features.items() if isinstance(f, dict) and f.get("names")}
        pictures = [c for c in self.columns if _holds_pictures(features.get(c), self._table.schema.field(c).type)]
        if column is not None and column not in self.columns:
            raise unknown(f"column of {str(folder)!r}:", column, self.columns)
        if not pictures and column is None:
            raise UsageError(f"{str(folder)!r} has no column of pictures", f"it has {', '.join(self.columns)}")
        self.column = column or pictures[0]
        self.others = [c for c in pictures if c != self.column]
        self._chunks: list[Any] = self._table.column(self.column).chunks
        self._starts = [0]
        for chunk in self._chunks:
            self._starts.append(self._starts[-1] + len(chunk))

    def other(self, column: str) -> ArrowPictures:
        """The pictures in another column, such as masks."""
        made = ArrowPictures(self._folder, column)
        made.stamp += f"\0{column}"
        return made

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The cells of each row; for a picture its number, for one in another column the name of the column."""
        plain = self._table.drop_columns([self.column, *self.others])
        beside = {c: c for c in self.others}
        rows = (row for batch in plain.to_batches(1024) for row in batch.to_pylist())
        for number in range(self._table.num_rows):
            yield {**(next(rows) if plain.num_columns else {}), **beside, self.column: number}

    def picture(self, row: int) -> Picture:
        """The file of a row; raises `Unreadable` if there is none."""
        chunk = bisect_right(self._starts, row) - 1
        cell = self._chunks[chunk][row - self._starts[chunk]].as_py()
        if isinstance(cell, dict):
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes):
            return cell
        if isinstance(cell, str):
            return self._folder / cell
        raise Unreadable("the cell is empty")


def _parts(root: Path) -> dict[str, Path]:
    """Split -> folder; "" for a data set without splits."""
    listed = root / "dataset_dict.json"
    if listed.is_file():
        splits = _json(listed).get("splits", [])
        return {str(split): root / str(split) for split in splits if (root / str(split) / "state.json").is_file()}
    if not (root / "state.json").is_file():
        raise UsageError(
            f"{str(root)!r} was not written by save_to_disk: it has neither state.json nor dataset_dict.json",
            "for a folder of images use folder:DIR, for a table table:FILE",
        )
    return {"": root}


def _json(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", "save the data set again") from error
    return plain if isinstance(plain, dict) else {}


def _arrow(folder: Path) -> tuple[Any, list[Path]]:
    """The table of a saved data set, mapped into memory, and its files."""
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingError("pyarrow is needed to read a saved data set", 'pip install "xcore-vision[hf]"') from None
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise UsageError(f"{str(folder)!r} is saved with a list of indices", "call flatten_indices() before saving it")
    files = [folder / str(entry.get("filename", "")) for entry in state.get("_data_files", [])]
    tables = []
    for file in files:
        if not file.is_file():
            raise UsageError(f"{str(folder)!r} has no file {file.name!r}, which its state.json names", "copy it whole")
        try:
            tables.append(pa.ipc.open_stream(pa.memory_map(str(file))).read_all())
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"{file} cannot be read as Arrow: {str(error).splitlines()[0]}") from error
    if not tables:
        raise UsageError(f"{str(folder)!r} names no data files", "save the data set again")
    return pa.concat_tables(tables), files


def _features(folder: Path, table: Any) -> Mapping[str, Any]:
    info = folder / "dataset_info.json"
    if info.is_file():
        return _json(info).get("features") or {}
    about = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features: Mapping[str, Any] = about.get("info", {}).get("features", {})
    return features


def _holds_pictures(feature: Any, kind: Any) -> bool:
    """Whether a column is of the type `Image` of `datasets`, or holds bytes."""
    return (isinstance(feature, dict) and feature.get("_type") == "Image") or str(kind) in ("binary", "large_binary")
