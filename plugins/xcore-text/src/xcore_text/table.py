"""A table of texts and labels as a data set: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.errors import MissingError, UsageError, unknown
from xcore.paths import existing_file
from xcore_text.data import MARKS, Entry, TextData
from xcore_text.options import TableOptions

TEXT = ("text", "review", "sentence", "content", "comment", "body", "document", "message", "tweet")
LABEL = ("label", "sentiment", "class", "category", "target", "polarity", "rating", "stars", "topic")
SPLIT = ("split", "fold", "partition")

Row = Mapping[str, Any] | str
"""The cells by column, or the reason why there are none."""


class Table(TextData):
    """``table:FILE``: a text and a label in each row, of a .csv, .tsv, .jsonl or .parquet file.

    Rows without text or label, or that cannot be read, are counted in `skipped`; rows are numbered from 1, the heading
    not counted.

    Parameters
    ----------
    options
        Columns, names of the classes, and what every data set of texts takes.
    path
        The file.

    Raises
    ------
    UsageError
        The file is not there, has another ending, lacks a column, or has no row with a text and a label.
    MissingError
        A Parquet file, and pyarrow is not installed.
    """

    def __init__(self, options: TableOptions, path: str) -> None:
        file = existing_file(path, "table")
        reader = READERS.get(file.suffix.lower())
        if reader is None:
            raise UsageError(f"{path!r} is no table", f"it must end in {', '.join(READERS)}")
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
    """The column that is meant; empty for a split column that is not there."""
    if given is not None:
        if given not in columns:
            raise unknown(f"column of {file.name}:", given, columns)
        return given
    plain = {c.strip().lower(): c for c in reversed(columns)}
    found = next((plain[name] for name in usual if name in plain), "")
    if not found and what != "split":
        shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
        raise UsageError(f"{file.name} has no column {usual[0]!r}", f"name it: {what}=COLUMN, one of {shown}")
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
        return f"split {mark!r} is none of {', '.join(MARKS)}"
    return Entry(name, words.strip(), cls, MARKS.get(mark))


def _plain(value: Any) -> str:
    """A label as text: whole numbers without a fraction, nothing for what is missing or a list of things."""
    if value is None or isinstance(value, list | dict) or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _is_utf8(text: str) -> bool:
    """Whether a text holds no lone surrogates, which stand for other bytes or come from broken JSON escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ordered(labels: set[str]) -> list[str]:
    """Labels by number if all are numbers, else by alphabet."""
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels)


def _named(entries: Sequence[Entry], labels: Sequence[str], given: Sequence[str], file: Path) -> list[Entry]:
    """Entries with names for labels: label i (from 0) is the i-th name, other labels in their order."""
    indices = [int(x) for x in labels if x.isdigit()]
    if len(indices) == len(labels) and max(indices) < len(given):
        names = {x: given[int(x)] for x in labels}
    elif len(labels) == len(given):
        names = dict(zip(labels, given, strict=True))
    else:
        raise UsageError(f"{file.name} has {len(labels)} labels but there are {len(given)} class names")
    return [e._replace(label=names[e.label]) for e in entries]


Read = tuple[list[str], Mapping[str, list[str]], Iterator[Row]]
"""Names of the columns; of a column's labels 0, 1, ... where the file holds them; and the rows."""


def _read_csv(file: Path, options: TableOptions) -> Read:
    separator = options.separator or ("\t" if file.suffix.lower() == ".tsv" else ",")
    # Bytes that are no UTF-8 become lone surrogates, by which their rows are known.
    content = io.StringIO(_text(file), newline="")
    form: dict[str, Any] = {} if options.quotes else {"quoting": csv.QUOTE_NONE}
    rows = csv.reader(content, delimiter=separator, strict=True, **form)
    try:
        heading = next(rows, None)
    except csv.Error as error:
        raise UsageError(f"{file.name} has no heading: {error}") from error
    if not heading:
        raise UsageError(f"{file.name} is empty", "its first line names the columns")

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
                yield f"{len(row)} cells, the heading has {len(heading)}"
            elif row:
                yield dict(zip(heading, row, strict=False))

    return heading, {}, cells()


def _read_jsonl(file: Path, options: TableOptions) -> Read:
    rows = [_json_row(line) for line in _text(file).split("\n") if line.strip()]
    columns = list(dict.fromkeys(key for row in rows if not isinstance(row, str) for key in row))
    if not columns:
        raise UsageError(f"{file.name} holds no JSON object", "one object a line")
    return columns, {}, iter(rows)


def _json_row(line: str) -> Row:
    if not _is_utf8(line):
        return "not UTF-8"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # the latter for brackets in brackets in brackets
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def _read_parquet(file: Path, options: TableOptions) -> Read:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingError(
            f"pyarrow is needed to read {file.name}", 'install it: pip install "xcore-text[parquet]"'
        ) from None
    try:
        table = parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{file.name} is no Parquet file: {str(error).splitlines()[0]}") from error
    # The library datasets writes the names of integer labels into the schema.
    about = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = about.get("info", {}).get("features", {})
    names = {c: f["names"] for c, f in features.items() if isinstance(f, dict) and "names" in f}
    rows = (row for batch in table.to_batches(1024) for row in batch.to_pylist())
    return list(table.column_names), names, rows


def _text(file: Path) -> str:
    content = file.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{file.name} is UTF-16, not UTF-8", "convert it: iconv -f UTF-16 -t UTF-8")
    return content.decode("utf-8-sig", errors="surrogateescape")


READERS: Mapping[str, Callable[[Path, TableOptions], Read]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
