"""A table of texts and labels as a data set: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xcore.contract import UsageError
from xcore.inputs.encodings import refuse_others
from xcore.inputs.paths import existing_file
from xcore.inputs.splits import MARKS
from xcore.inputs.tables import Row, find_column, is_utf8, numbers_first, plain_cell, read_table
from xcore_text.data import NOT_UTF8, Entry, TextData, one_label
from xcore_text.options import TableOptions

TEXT = ("text", "review", "sentence", "content", "comment", "body", "document", "message", "tweet")
LABEL = ("label", "sentiment", "class", "category", "target", "polarity", "rating", "stars", "topic")
SPLIT = ("split", "fold", "partition")


class Table(TextData):
    """``table:FILE``: a .csv, .tsv, .jsonl or .parquet file with a text and a label in each row.

    Rows without a text or a label, and rows that cannot be read, are listed in `skipped`. Rows are numbered from 1; the
    heading does not count. Labels that differ in case, spaces or underscores only are one class.

    Parameters
    ----------
    options
        Columns, names of the classes, and the options of every data set of texts.
    path
        The file.

    Raises
    ------
    UsageError
        There is no such file, it has another ending, it is not UTF-8 and no other encoding is named, it lacks a column,
        or no row has a text and a label.
    MissingError
        It is a Parquet file, and pyarrow is not installed.
    """

    def __init__(self, options: TableOptions, path: str) -> None:
        file = existing_file(path, "table")
        if not options.encoding and file.suffix.lower() != ".parquet":
            refuse_others(file.read_bytes(), path, option="table.encoding")
        columns, names, rows = read_table(file, options.separator, options.quotes, options.encoding)
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
        entries, notes = one_label(entries)
        labels = numbers_first({e.label for e in entries})
        given = options.classes or (names.get(label) if all(x.isdigit() for x in labels) else None)
        if given and labels:
            entries = _named(entries, labels, given, file)
            labels = [name for name in given if any(e.label == name for e in entries)]
        super().__init__(options, file.name, entries, labels, skipped, notes)


def _column(given: str | None, usual: Sequence[str], columns: Sequence[str], file: Path, what: str) -> str:
    """The column that an option names, else the first usual one that exists; empty if there is no split column."""
    found = find_column(given, usual, columns, file.name)
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
    words, cls = row.get(text), plain_cell(row.get(label))
    if not isinstance(words, str) or not words.strip():
        return "empty text" if words is None or isinstance(words, str) else f"no text in column {text!r}"
    if not cls:
        return f"no label in column {label!r}"
    if not is_utf8(words) or not is_utf8(cls):
        return NOT_UTF8
    mark = plain_cell(row.get(split)).lower() if split else ""
    if mark and mark not in MARKS:
        return f"its split {mark!r} is none of {', '.join(MARKS)}"
    return Entry(name, words.strip(), cls, MARKS.get(mark))


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
