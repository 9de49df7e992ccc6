"""Tables that describe the pictures of a folder: ``metadata.csv``, and those of CelebA and ImageNet.

This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xcore.contract import Split, UsageError, unknown
from xcore.inputs.paths import existing_file, printable
from xcore.inputs.tables import ENDINGS, Row, find_column, is_utf8, plain_cell, read_table
from xcore_vision.files import Skipped
from xcore_vision.options import ColumnOptions, FolderOptions
from xcore_vision.splits import MARKS, NUMBERS

FILE = (
    "filename",
    "file_name",
    "img_filename",
    "image_path",
    "img_path",
    "image_file",
    "path",
    "filepath",
    "file",
    "image",
    "img",
    "image_id",
    "imageid",
)
LABEL = ("label", "class", "y", "target", "category", "class_name", "label_name", "labels")
SPLIT = ("split", "fold", "partition")
GROUP = ("group", "subgroup", "group_id")
CAPTION = ("caption", "text", "description", "sentence", "title")
MASK = ("mask", "mask_path", "mask_filename", "mask_file", "mask_file_name", "segmentation")

LONGEST = 200
"""Characters of a cell that a message shows."""
WATERBIRDS = ("img_filename", "y", "place", "place_filename")
"""Columns by which the table of Waterbirds is known; it has the classes and places as numbers."""
BIRDS, PLACES = ("landbird", "waterbird"), ("land", "water")
CELEBA, CELEBA_SPLITS = "list_attr_celeba", "list_eval_partition"
SOLUTIONS = ("LOC_train_solution.csv", "LOC_val_solution.csv")
"""ImageNet's tables of the classes of pictures."""
SYNSETS = "LOC_synset_mapping.txt"
"""ImageNet's file of the names of its classes."""


class Described(NamedTuple):
    """What a table says of a picture; empty where it says nothing."""

    name: Any
    """The cell that says which picture it is."""
    row: int
    """Counted from 1; the heading does not count."""
    label: str
    split: Split | None
    group: str
    caption: str
    mask: Any
    attributes: tuple[Any, ...]


@dataclass
class Description:
    """What a table says of pictures, row by row."""

    table: str
    """Its name, for messages."""
    folder: Path
    """Where its paths begin."""
    rows: list[Described]
    attributes: tuple[str, ...] = ()
    labelled: bool = False
    """Whether it gives classes."""
    skipped: dict[str, str] = field(default_factory=dict)


def describe_rows(
    options: ColumnOptions,
    table: str,
    folder: Path,
    columns: Sequence[str],
    names: Mapping[str, Sequence[str]],
    rows: Iterable[Row],
    image: str,
    more: Mapping[str, Split] | None = None,
) -> Description:
    """Read the rows of a table.

    Parameters
    ----------
    table, folder
        Its name, and where its paths begin.
    columns, names, rows
        As `xcore.inputs.tables.read_table` gives them.
    image
        The column that says which picture it is.
    more
        Cell of that column -> split, where another table names the splits.

    Raises
    ------
    UsageError
        It has no column of a name that an option gives.
    """
    label = find_column(options.label, LABEL, columns, table)
    split = find_column(options.split, SPLIT, columns, table)
    caption = find_column(options.caption, CAPTION, columns, table)
    mask = find_column(options.mask, MASK, columns, table)
    groups = [find_column(g, (), columns, table) for g in options.group or ()]
    own_group = "" if groups else find_column(None, GROUP, columns, table)
    waterbirds = set(WATERBIRDS) <= set(columns) and options.label is None
    if waterbirds and not groups and not own_group:
        groups = ["place"]
    used = {image, label, split, caption, mask, own_group}
    attributes = tuple(c for c in columns if c not in used)
    found = Description(table, folder, [], attributes, bool(label))
    kept: dict[str, str] = {}  # the same text is kept once
    raw: list[tuple[Described, tuple[str, ...]]] = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, str):
            found.skipped[f"{table}, row {number}"] = row
            continue
        mark = plain_cell(row.get(split)).lower() if split else ""
        which = row.get(image)
        if mark and mark not in MARKS and mark not in NUMBERS:
            found.skipped[f"{table}, row {number}"] = f"its split {mark!r} is none of {', '.join((*MARKS, *NUMBERS))}"
        elif which is None or which == "":
            found.skipped[f"{table}, row {number}"] = f"no picture in column {image!r}"
        else:
            cells = tuple(_kept(row.get(c), kept) for c in attributes)
            given = MARKS.get(mark) or NUMBERS.get(mark) or (more.get(str(which)) if more else None)
            described = Described(
                which,
                number,
                printable(label_name(plain_cell(row.get(label)) if label else "", names.get(label, ()))),
                given,
                printable(plain_cell(row.get(own_group))) if own_group else "",
                _utf8(plain_cell(row.get(caption))) if caption else "",
                row.get(mask) or None if mask else None,
                cells,
            )
            raw.append((described, tuple(plain_cell(row.get(g)) for g in groups)))
    found.rows = _with_phrases(raw, label, groups, options, waterbirds)
    return found


def _kept(value: Any, kept: dict[str, str]) -> Any:
    return kept.setdefault(value, _utf8(value)) if isinstance(value, str) else value


def _utf8(text: str) -> str:
    """A text as it is; with escapes if some of its bytes are no characters."""
    return text if is_utf8(text) else printable(text)


def label_name(label: str, names: Sequence[str]) -> str:
    """The name of the class of a number; a label that is no number, or has no name, stays as it is."""
    return names[int(label)] if label.isdecimal() and int(label) < len(names) else label


def _with_phrases(
    raw: Sequence[tuple[Described, tuple[str, ...]]],
    label: str,
    groups: Sequence[str],
    options: ColumnOptions,
    waterbirds: bool,
) -> list[Described]:
    """The rows, whose classes and groups have names: ``Blond_Hair`` and ``not Blond_Hair`` for 1 and -1."""
    yes_no = {g: {values[i] for _, values in raw} <= _YES | _NO for i, g in enumerate(groups)}
    attribute = options.label is not None and label.lower() not in LABEL and {d.label for d, _ in raw} <= _YES | _NO
    rows = []
    for described, values in raw:
        cls = described.label
        if waterbirds and cls in ("0", "1"):
            cls = BIRDS[int(cls)]
        elif attribute:
            cls = label if cls in _YES else f"not {label}"
        group = described.group
        if groups and waterbirds and list(groups) == ["place"] and values[0] in ("0", "1"):
            group = f"{cls} on {PLACES[int(values[0])]}"
        elif groups:
            parts = [_phrase(g, v, yes_no[g]) for g, v in zip(groups, values, strict=True)]
            group = ", ".join([cls, *parts] if cls else parts)
        rows.append(described._replace(label=cls, group=group))
    return rows


def _phrase(name: str, value: str, yes_no: bool) -> str:
    if not yes_no:
        return f"{name} {value}"
    return name if value in _YES else f"not {name}"


_YES, _NO = {"1", "True", "true"}, {"0", "-1", "False", "false"}


def descriptions(options: FolderOptions, root: Path, parts: Iterable[Path], finder: Finder) -> list[Description]:
    """The tables that describe the pictures of a folder: those in it or in its parts, or one beside it.

    Parameters
    ----------
    options
        The options that the user gave.
    root
        The folder of the data set.
    parts
        The folders of its splits, if it has any.
    finder
        Finds its pictures. A table beside the folder counts if it names one of them.

    Raises
    ------
    UsageError
        A table that an option names does not exist, or has no column with the names of pictures.
    """
    if options.metadata is not None:
        return [_table(options, existing_file(options.metadata, "table of metadata"))]
    attributes = _celeba(root)
    if attributes is not None and any(isinstance(finder.find(c[0], root), Path) for c in _celeba_rows(attributes)):
        return [_celeba_description(options, attributes)]
    inside = [file for folder in (root, *parts) if (file := _usual(folder)) is not None]
    if inside:
        return [_table(options, file) for file in inside]
    beside = _usual(root.resolve().parent)
    if beside is not None:
        columns = read_table(beside).columns
        if find_column(None, FILE, columns, beside.name):
            return [_table(options, beside)]
    return []


def table_files(options: FolderOptions, root: Path) -> list[Path]:
    """Every table outside a folder that may describe its pictures: what identifies the data set, too."""
    given = [Path(options.metadata).expanduser()] if options.metadata else []
    beside = [_usual(root.resolve().parent), _celeba(root), *(near(root, name) for name in (*SOLUTIONS, SYNSETS))]
    splits = [near(root, CELEBA_SPLITS + ending) for ending in (".csv", ".txt")]
    return [file for file in (*given, *beside, *splits) if file is not None and file.is_file()]


def near(root: Path, name: str) -> Path | None:
    """A file of this name in a folder, or in one of the four folders above it."""
    here = root.resolve()
    return next((f / name for f in (here, *here.parents[:4]) if (f / name).is_file()), None)


def solutions(root: Path) -> dict[str, str]:
    """Name of a picture of ImageNet without its ending -> its synset id, from the tables of the challenge."""
    found: dict[str, str] = {}
    for name in SOLUTIONS:
        file = near(root, name)
        for row in read_table(file).rows if file is not None else ():
            if not isinstance(row, str) and row.get("ImageId"):
                found[str(row["ImageId"])] = str(row.get("PredictionString", "")).partition(" ")[0]
    return found


def _usual(folder: Path) -> Path | None:
    return next((folder / f"metadata{end}" for end in ENDINGS if (folder / f"metadata{end}").is_file()), None)


def _table(options: ColumnOptions, file: Path) -> Description:
    columns, names, rows = read_table(file)
    image = find_column(None, FILE, columns, file.name)
    if not image:
        raise UsageError(
            f"{str(file)!r} has no column that names the pictures", f"call the column {' or '.join(FILE[:3])}"
        )
    return describe_rows(options, file.name, file.parent, columns, names, rows, image)


def _celeba(root: Path) -> Path | None:
    here = root.resolve()
    tables = (f / f"{CELEBA}{ending}" for f in (here, *here.parents[:2]) for ending in (".csv", ".txt"))
    return next((table for table in tables if table.is_file()), None)


def _celeba_description(options: ColumnOptions, file: Path) -> Description:
    rows = _celeba_rows(file)
    heading = next(rows)
    image = heading[0]
    if options.label is None:
        raise UsageError(
            f"{file.name} has {len(heading) - 1} attributes and no classes",
            f"say which attribute is the class: --set folder.label=NAME, one of {', '.join(heading[1:])}",
        )
    if options.label not in heading:
        raise unknown(f"attribute of {file.name}:", options.label, heading[1:])
    partitions = (file.with_name(CELEBA_SPLITS + ending) for ending in (".csv", ".txt"))
    partition = next((p for p in partitions if p.is_file()), None)
    splits: dict[str, Split] = {}
    for cells in _celeba_rows(partition, heading=False) if partition is not None else ():
        if len(cells) == 2 and cells[1] in NUMBERS:
            splits[cells[0]] = NUMBERS[cells[1]]
    plain: Iterator[Row] = (
        dict(zip(heading, cells, strict=True)) if len(cells) == len(heading) else f"it has {len(cells)} cells"
        for cells in rows
    )
    return describe_rows(options, file.name, file.parent, heading, {}, plain, image, splits)


def _celeba_rows(file: Path, heading: bool = True) -> Iterator[list[str]]:
    """The rows of a table of CelebA, the heading first: CSV, or a text that begins with the number of the rows."""
    if file.suffix == ".csv":
        columns, _, rows = read_table(file)
        if heading:
            yield columns
        yield from ([str(cell) for cell in row.values()] for row in rows if not isinstance(row, str))
        return
    lines = file.read_text(encoding="utf-8").splitlines()
    if heading:
        yield ["image_id", *lines[1].split()]
        lines = lines[2:]
    yield from (line.split() for line in lines if line.strip())


class Finder:
    """Finds the files that the cells of a table name: by the path, the name, or the name without its ending.

    Parameters
    ----------
    root
        The folder of the data set.
    files
        The files in it.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = root
        self._paths = {str(file): file for file in files}
        self._names: dict[str, list[Path]] = {}
        for file in files:
            for name in {file.name, file.stem}:
                self._names.setdefault(name, []).append(file)

    def find(self, cell: Any, folder: Path) -> Path | str:
        """The file that a cell names, or why there is none.

        Parameters
        ----------
        folder
            Where the paths of the table begin.
        """
        if not isinstance(cell, str):
            return "its picture is no file"
        for base in (folder, self._root):
            found = self._paths.get(str(base / cell))
            if found is not None:
                return found
        named = self._names.get(cell.replace("\\", "/").rpartition("/")[2], [])
        fitting = [file for file in named if file.as_posix().endswith("/" + cell)] or named
        if len(fitting) == 1:
            return fitting[0]
        shown = printable(cell[:LONGEST])
        return f"no file '{shown}'" if not fitting else f"{len(fitting)} files are called '{shown}'"


def merge(
    found: Sequence[Description], finder: Finder, root: Path, skipped: Skipped
) -> dict[Path, tuple[Description, Described]]:
    """File -> what the tables say of it.

    Rows of tables in the folder whose file is not there are named in `skipped`; a table beside the folder describes
    other folders, too.
    """
    merged: dict[Path, tuple[Description, Described]] = {}
    for description in found:
        inside = description.folder.resolve().is_relative_to(root.resolve())
        skipped.update(description.skipped if inside else {})
        for described in description.rows:
            file = finder.find(described.name, description.folder)
            where = f"{description.table}, row {described.row}"
            if isinstance(file, str):
                skipped.update({where: file} if inside else {})
            elif file in merged:
                skipped[where] = f"{printable(file)} is in another row, too"
            else:
                merged[file] = (description, described)
    return merged
