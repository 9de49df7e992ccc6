"""Tables as CSV files: one way to write them for all that we write."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a head: None and what a row lacks are empty.

    A text that a spreadsheet would take for a formula, and that is no number, gets an apostrophe in front: a name that
    somebody gave to a class or a picture is never run.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return value
    text = str(value)
    text = f"'{text}" if text.startswith(FORMULAS) and not _is_number(text) else text
    return text.replace("\r\n", "\n").replace("\r", "\n")  # the csv module does not quote a lone return


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
