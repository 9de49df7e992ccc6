"""The findings of other commands, such as `xcore shift`, that lie below a run directory, for its page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from xcore.base.errors import UsageError
from xcore.base.files import read_json
from xcore.report.small_pictures import file_picture
from xcore.report.table import clean

PLACES = ("findings/*/record.json", "*/findings/*/record.json")
KEYS = ("command", "title", "columns", "rows", "notes", "pictures")
WIDTH = 900
"""Pixels across of a picture of a finding, at most."""


class PageFinding(NamedTuple):
    """A finding as the page shows it."""

    command: str
    title: str
    heads: tuple[tuple[str, str], ...]
    """The head of each column, and what its figures are."""
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...]
    """Data URI and alternative text."""


def findings(root: Path) -> tuple[list[PageFinding], list[str]]:
    """The findings below a folder, and one line for each that cannot be read."""
    found, unread = [], []
    for path in sorted(p for pattern in PLACES for p in root.glob(pattern)):
        try:
            found.append(_finding(path))
        except (UsageError, KeyError, TypeError, AttributeError) as error:
            unread.append(f"{path.parent.relative_to(root)} is not shown, since it cannot be read: {error}")
    return found, unread


def _finding(path: Path) -> PageFinding:
    plain = read_json(path, KEYS)
    columns = [column for column in plain["columns"] if column.get("shown", True)]
    rows = tuple(tuple(_shown(row.get(c["name"]), c.get("places")) for c in columns) for row in plain["rows"])
    pictures = []
    for name, alt in plain["pictures"].items():
        file = path.parent / name
        if file.resolve().is_relative_to(path.parent.resolve()):
            with suppress(OSError):  # it was removed
                pictures.append((file_picture(file, WIDTH), clean(alt)))
    heads = tuple((clean(c["head"]), clean(c.get("says", ""))) for c in columns)
    return PageFinding(
        clean(plain["command"]), clean(plain["title"]), heads, rows, tuple(map(clean, plain["notes"])), tuple(pictures)
    )


def _shown(value: Any, places: int | None) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if places is not None and isinstance(value, (int, float)):
        return f"{value:.{places}f}"
    return clean(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture that a page can show."""
    return path.suffix.lower() in (".png", ".svg", ".jpg", ".jpeg", ".webp")


def plain_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: files of methods hold what they like."""
    return value if isinstance(value, Mapping) else {}
