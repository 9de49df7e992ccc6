"""A table of texts and labels as a data set: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.contract import MissingError, UsageError, unknown
from xcore.inputs.paths import existing_file
from xcore_text.data import MARKS, Entry, TextData
from xcore_text.options import TableOptions

TEXT = ("text", "review", "sentence", "content", "comment", "body", "document", "message", "tweet")
LABEL = ("label", "sentiment", "class", "category", "target", "polarity", "rating", "stars", "topic")
SPLIT = ("split", "fold", "partition")

Row = Mapping[str, Any] | str
"""The cells of a row by column, or the reason why it could not be read."""


class Table(TextData):
    """``table:FILE``: a .csv, .tsv, .jsonl or .parquet file with a text and a label in each row.

    Rows without a text or a label, and rows that cannot be read, are listed in `skipped`. Rows are numbered from 1; the
    heading does not count.

    Parameters
    ----------
    options
        Columns, names of the classes, and the options of every data set of texts.
    path
        The file.

    Raises
    ------
    UsageError
        There is no such file, it has another ending, it lacks a column, or no row has a text and a label.
    MissingError
        It is a Parquet file, and pyarrow is not installed.
    """

    def __init__(self, options: TableOptions, path: str) -> None:
        file = existing_file(path, "table")
        reader = READERS.get(file.suffix.lower())
        if reader is None:
            raise UsageError(f"{path!r} is no table that can be read", f"its name must end in {', '.join(READERS)}")
        columns, names, rows = reader(file, options)
        text = _column(options.text, TEXT, columns, file, "text")
        label = _column(options.label, LABEL, columns, file, "label")
        split = _column(options.split, SPLIT, columns, file, "split")
        skipped: list[str] = []
        entries: list[Entry] = []
        for number, row in enumerate(rows, 1):
            found = _entry(row, f"{file.name}/{number}", text, label, split)
            if isinstance(found, Entry):
                entries.append(found)
            else:
                skipped.append(f"{file.name}, row {number}: {found}")
        labels = _ordered({e.label for e in entries})
        given = options.classes or (names.get(label) if all(x.isdigit() for x in labels) else None)
        if given and labels:
            entries = _named(entries, labels, given, file)
            labels = [name for name in given if any(e.label == name for e in entries)]
        super().__init__(options, file.name, entries, labels, skipped)


def _column(given: str | None, usual: Sequence[str], columns: Sequence[str], file: Path, what: str) -> str:
    """The column that an option names, else the first usual one that exists; empty if there is no split column."""
    if given is not None:
        if given not in columns:
            raise unknown(f"column of {file.name}:", given, columns)
        return given
    plain = {c.strip().lower(): c for c in reversed(columns)}
    found = next((plain[name] for name in usual if name in plain), "")
    if not found and what != "split":
        shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
        raise UsageError(
            f"{file.name} has no column {usual[0]!r} or of a like name",
            f"name the column: {what}=COLUMN, one of {shown}",
        )
    return found


def _entry(row: Row, name: str, text: str, label: str, split: str) -> Entry | str:
    if isinstance(row, str):
        return row
    words, cls = row.get(text), _plain(row.get(label))
    if not isinstance(words, str) or not words.strip():
        return "empty text" if words is None or isinstance(words, str) else f"no text in column {text!r}"
    if not cls:
        return f"no label in column {label!r}"
    if not _is_utf8(words) or not _is_utf8(cls):
        return "not UTF-8"
    mark = _plain(row.get(split)).lower() if split else ""
    if mark and mark not in MARKS:
        return f"its split {mark!r} is none of {', '.join(MARKS)}"
    return Entry(name, words.strip(), cls, MARKS.get(mark))


def _plain(value: Any) -> str:
    """A label as text: whole numbers without a fraction; empty for a missing value, a list or a mapping."""
    if value is None or isinstance(value, list | dict) or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _is_utf8(text: str) -> bool:
    """Whether a text has no lone surrogates, which stand for bytes that are not UTF-8 or come from broken JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ordered(labels: set[str]) -> list[str]:
    """The labels in the order of their numbers if all are numbers, else in alphabetical order."""
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels)


def _named(entries: Sequence[Entry], labels: Sequence[str], given: Sequence[str], file: Path) -> list[Entry]:
    """The entries with names instead of labels: label i (from 0) is the i-th name, other labels take them in order."""
    indices = [int(x) for x in labels if x.isdigit()]
    if len(indices) == len(labels) and max(indices) < len(given):
        names = {x: given[int(x)] for x in labels}
    elif len(labels) == len(given):
        names = dict(zip(labels, given, strict=True))
    else:
        raise UsageError(
            f"{file.name} has {len(labels)} labels but there are {len(given)} class names",
            f"the labels are {', '.join(labels[:12])}: set the option classes to a name for each",
        )
    return [e._replace(label=names[e.label]) for e in entries]


Read = tuple[list[str], Mapping[str, list[str]], Iterator[Row]]
"""Names of the columns; column -> names of its labels 0, 1, ... if the file holds them; the rows."""


def _read_csv(file: Path, options: TableOptions) -> Read:
    separator = options.separator or ("\t" if file.suffix.lower() == ".tsv" else ",")
    # Bytes that are not UTF-8 become lone surrogates, by which their rows are recognised later.
    content = io.StringIO(_text(file), newline="")
    form: dict[str, Any] = {} if options.quotes else {"quoting": csv.QUOTE_NONE}
    rows = csv.reader(content, delimiter=separator, strict=True, **form)
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

    return heading, {}, cells()


def _read_jsonl(file: Path, options: TableOptions) -> Read:
    rows = [_json_row(line) for line in _text(file).split("\n") if line.strip()]
    columns = list(dict.fromkeys(key for row in rows if not isinstance(row, str) for key in row))
    if not columns:
        raise UsageError(f"{file.name} holds no JSON object", "write a JSON object on each line")
    return columns, {}, iter(rows)


def _json_row(line: str) -> Row:
    if not _is_utf8(line):
        return "not UTF-8"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # a RecursionError comes from very deeply nested brackets
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def _read_parquet(file: Path, options: TableOptions) -> Read:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingError(f"pyarrow is needed to read {file.name}", 'pip install "xcore-text[parquet]"') from None
    try:
        table = parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{file.name} cannot be read as a Parquet file: {str(error).splitlines()[0]}") from error
    # The library `datasets` writes the names of integer labels into the schema.
    about = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = about.get("info", {}).get("features", {})
    names = {c: f["names"] for c, f in features.items() if isinstance(f, dict) and "names" in f}
    rows = (row for batch in table.to_batches(1024) for row in batch.to_pylist())
    return list(table.column_names), names, rows


def _text(file: Path) -> str:
    content = file.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(
            f"{file.name} is UTF-16, not UTF-8", f"convert it: iconv -f UTF-16 -t UTF-8 {file.name} > utf8{file.suffix}"
        )
    return content.decode("utf-8-sig", errors="surrogateescape")


READERS: Mapping[str, Callable[[Path, TableOptions], Read]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
