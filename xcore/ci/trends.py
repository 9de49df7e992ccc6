"""The values of a table for github-action-benchmark, which keeps them from commit to commit and draws their curves.

Its files have one direction each, so there are two: of metrics that are better if higher, and if lower. Values are
those that gates read, by the names that gates give them; metrics without a better direction have none to watch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xcore.base.files import write_text
from xcore.ci.gates import SECONDS, whole_value
from xcore.ci.verdict import place
from xcore.report.table import Column, Row, Section, Table, Value

FILES = {"higher": "bigger-is-better.json", "lower": "smaller-is-better.json"}
"""Direction -> the file; its tool is customBiggerIsBetter or customSmallerIsBetter."""


def write_trends(table: Table, folder: Path) -> list[Path]:
    """Write both files into a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = list(trends(table))
    paths = []
    for direction, name in FILES.items():
        entries = [entry for better, entry in found if better == direction]
        write_text(folder / name, json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        paths.append(folder / name)
    return paths


def trends(table: Table) -> Iterator[tuple[str, dict[str, Any]]]:
    """Direction and entry of each value of the table, and of the seconds of each method."""
    hidden = {metric for metric, info in table.metrics.items() if not info.column}
    for section in table.sections:
        whole = {column.metric for column in section.columns if column.whole}
        several = {m for m in whole | {c.metric for c in section.columns} if _variants(section, m, m in whole) > 1}
        for label in dict.fromkeys(row.label for row in section.rows):
            rows = [row for row in section.rows if row.label == label and row.status == "ok"]
            for column, value in _values(rows, whole):
                if column.direction in FILES and column.metric not in hidden and value.value is not None:
                    variant = f"[{column.variant}]" if column.metric in several else ""
                    name = f"{label}.{column.metric}{variant} on {place(table, section)}"
                    yield column.direction, _entry(name, column.metric, value)
            seconds = whole_value(rows, SECONDS, {})
            if seconds is not None and seconds.value is not None:
                yield "lower", _entry(f"{label}.{SECONDS} on {place(table, section)}", "s", seconds)


def _variants(section: Section, metric: str, whole: bool) -> int:
    return sum(column.metric == metric and column.whole == whole for column in section.columns)


def _values(rows: list[Row], whole: set[str]) -> Iterator[tuple[Column, Value]]:
    """Of whole explanations where the metric judges these, else of the first concept."""
    for row in rows:
        for column, value in row.values.items():
            if column.whole == (column.metric in whole) and (column.whole or row.rank == 1):
                yield column, value


def _entry(name: str, unit: str, value: Value) -> dict[str, Any]:
    about: dict[str, Any] = {"name": name, "unit": unit, "value": value.value}
    if value.spread is not None:
        about["range"] = f"± {value.spread:.3g}"
        about["extra"] = f"over {value.n} {value.over or 'values'}"
    return about
