"""The table for machines, in full precision: long records (CSV, pandas, Parquet) and nested data (JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from xcore.base.csv_files import csv_text
from xcore.base.errors import MissingError
from xcore.report.highlighted import as_plain
from xcore.report.table import CHANCE, NULL_MEAN, Column, Row, Section, Table, Value

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

SCHEMA = 1
FIELDS: Mapping[str, str] = {
    "data": "string",
    "classifier": "string",
    "class": "string",
    "method": "string",
    "label": "string",
    "status": "string",
    "reason": "string",
    "rank": "Int64",
    "concept": "string",
    "named_in_seeds": "Int64",
    "seeds": "string",
    "metric": "string",
    "variant": "string",
    "direction": "string",
    "whole_explanation": "boolean",
    "value": "float64",
    "spread": "float64",
    "over": "string",
    "n": "Int64",
    "null_mean": "float64",
    "outside_null_seeds": "Int64",
    "lowers_class_seeds": "Int64",
    "chance": "float64",
    "seconds": "float64",
    "shared_seconds": "float64",
    "words": "string",
}
"""Field of a long record -> its dtype in pandas."""


def records(table: Table) -> Iterator[dict[str, Any]]:
    """The table as long records: one for each section, row and metric, with the keys `FIELDS`.

    A row without values, such as a failed or skipped cell, is one record without a metric. What does not apply is None
    or "". `seconds` stands on the records of the first concept of a method.
    """
    for section in table.sections:
        for row in section.rows:
            about = dict.fromkeys(FIELDS) | _about(section, row)
            for column, value in row.values.items():
                yield about | _measured(column, value)
            if not row.values:
                yield about


def to_csv(table: Table) -> str:
    """Render the long records as CSV. A field that does not apply is empty."""
    lowered = {None: None, True: "true", False: "false"}
    made = (record | {"whole_explanation": lowered[record["whole_explanation"]]} for record in records(table))
    return csv_text(list(FIELDS), made)


def to_pandas(table: Table) -> pd.DataFrame:
    """The long records as a pandas frame with the dtypes of `FIELDS`.

    Numbers and words that do not apply are missing (``pd.isna``), except where "" is itself a value, as for a metric
    without variants.
    """
    import pandas as pd

    return pd.DataFrame.from_records(list(records(table)), columns=list(FIELDS)).astype(dict(FIELDS))


def to_parquet(table: Table) -> bytes:
    """The frame of `to_pandas` as the bytes of a Parquet file; raises `MissingError` if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingError(
            "a table in Parquet format needs pyarrow, which is not installed", "pip install 'xcore-xai[parquet]'"
        ) from error
    content: bytes = to_pandas(table).to_parquet(engine="pyarrow", index=False)
    return content


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
        "shared_seconds": row.shared_seconds,
        "words": ", ".join(row.words.get(name or "", ())),
    }


def _measured(column: Column, value: Value) -> dict[str, Any]:
    return {
        "metric": column.metric,
        "variant": column.variant,
        "direction": column.direction,
        "whole_explanation": column.whole,
        "reason": "; ".join(dict.fromkeys(value.reasons.values())),
        "value": value.value,
        "spread": value.spread,
        "over": value.over,
        "n": value.n or None,
        "null_mean": value.details.get(NULL_MEAN),
        "outside_null_seeds": value.outside[0] if value.outside else None,
        "lowers_class_seeds": value.lowers,
        "chance": value.details.get(CHANCE),
    }


def to_json(table: Table) -> str:
    """Render everything in the table as JSON, with the values of each seed."""
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
    """The explained texts with their highlights; nothing for images."""
    texts = [{"label": c.label, "seed": c.seed, **as_plain(c.highlighted)} for c in section.highlighted]
    return {"marked": texts} if texts else {}


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
        "shared_seconds": row.shared_seconds,
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
                "lowers_class_seeds": value.lowers,
                **({"failed_audit": value.failed} if value.failed else {}),
            }
            for column, value in row.values.items()
        ],
    }
