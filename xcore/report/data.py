"""The table for machines: CSV (long: one line a concept x metric) and JSON, in full precision."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from xcore.marked import as_plain
from xcore.report.table import CHANCE, NULL_MEAN, Column, Row, Section, Table, Value

SCHEMA = 1
FIELDS = (
    "data",
    "classifier",
    "class",
    "method",
    "label",
    "status",
    "reason",
    "rank",
    "concept",
    "named_in_seeds",
    "seeds",
    "metric",
    "variant",
    "direction",
    "whole_explanation",
    "value",
    "spread",
    "over",
    "n",
    "null_mean",
    "outside_null_seeds",
    "chance",
    "seconds",
    "words",
)


def to_csv(table: Table) -> str:
    """One line a concept (or explanation) x metric; a failed or skipped cell is one line without a metric.

    Empty fields are what is not there; `seconds` stands on the lines of the first concept of a method.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for section in table.sections:
        for row in section.rows:
            about = _about(section, row)
            for column, value in row.values.items():
                writer.writerow(about | _measured(column, value))
            if not row.values:
                writer.writerow(about)
    return out.getvalue()


def _about(section: Section, row: Row) -> dict[str, Any]:
    name, count = next(iter(row.names.items()), (None, None))
    return {
        "data": section.data,
        "classifier": section.classifier,
        "class": section.cls,
        "method": row.method,
        "label": row.label,
        "status": row.status,
        "reason": row.reason,
        "rank": row.rank,
        "concept": name,
        "named_in_seeds": count,
        "seeds": " ".join(map(str, row.seeds)),
        "seconds": row.seconds,
        "words": ", ".join(row.words.get(name or "", ())),
    }


def _measured(column: Column, value: Value) -> dict[str, Any]:
    return {
        "metric": column.metric,
        "variant": column.variant,
        "direction": column.direction,
        "whole_explanation": str(column.whole).lower(),
        "reason": "; ".join(dict.fromkeys(value.reasons.values())),
        "value": value.value,
        "spread": value.spread,
        "over": value.over,
        "n": value.n or None,
        "null_mean": value.details.get(NULL_MEAN),
        "outside_null_seeds": value.outside[0] if value.outside else None,
        "chance": value.details.get(CHANCE),
    }


def to_json(table: Table) -> str:
    """Everything that the table holds, with the values of each seed."""
    sections = [
        {
            "data": section.data,
            "classifier": section.classifier,
            "class": section.cls,
            "rows": [_row(row) for row in section.rows],
            "notes": section.notes,
        }
        | _texts(section)
        for section in table.sections
    ]
    whole = {"schema": SCHEMA, "header": table.header, "notes": table.notes, "sections": sections}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _texts(section: Section) -> dict[str, Any]:
    """The explained texts with their marks; nothing for images."""
    shown = [{"label": s.label, "seed": s.seed, **as_plain(s.marked)} for s in section.marked]
    return {"marked": shown} if shown else {}


def _row(row: Row) -> dict[str, Any]:
    return {
        "method": row.method,
        "label": row.label,
        "status": row.status,
        "reason": row.reason,
        "rank": row.rank,
        "names": row.names,
        **({"words": row.words} if row.words else {}),
        "seeds": row.seeds,
        "seconds": row.seconds,
        "values": [
            {
                "metric": column.metric,
                "variant": column.variant,
                "direction": column.direction,
                "whole_explanation": column.whole,
                "value": value.value,
                "spread": value.spread,
                "over": value.over,
                "n": value.n,
                "by_seed": value.by_seed,
                "reasons": value.reasons,
                "details": value.details,
                "outside_null_seeds": value.outside[0] if value.outside else None,
            }
            for column, value in row.values.items()
        ],
    }
