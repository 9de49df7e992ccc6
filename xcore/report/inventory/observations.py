"""All scores of runs as one table, a row an observation: what a metric said of one concept, explanation or group."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.base.csv_files import csv_text
from xcore.base.errors import MissingError, UsageError
from xcore.base.files import write_text
from xcore.contract.types import Cell, Score
from xcore.report.inventory.state import RunState, distinct

FIELDS: Mapping[str, str] = {
    "run": "string",
    "suite": "string",
    "label": "string",
    "method": "string",
    "method_options": "string",
    "classifier": "string",
    "layer": "string",
    "data": "string",
    "class": "string",
    "seed": "int64",
    "seeds": "string",
    "data_seed": "int64",
    "concept": "int64",
    "concept_name": "string",
    "importance": "float64",
    "metric": "string",
    "variant": "string",
    "direction": "string",
    "value": "float64",
    "spread": "float64",
    "over": "string",
    "n": "int64",
    "samples": "list",
    "details": "string",
    "heldout": "int64",
    "status": "string",
    "reason": "string",
    "seconds": "float64",
    "record": "string",
}
"""Column -> what it holds. `samples` is a list of float64."""
ENDINGS = (".parquet", ".csv")


def observations(run: RunState, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a run, with the keys `FIELDS`; what does not apply is None.

    A score of one concept has the index and name of the concept; one of a whole explanation has none. A score that
    judges several explanations together is one row: `seed` is None where they have several, and `seeds` and
    `classifier` name all. A cell without an explanation, and a metric without a score, is a row with a reason.

    Parameters
    ----------
    name
        What the run is called in the first column.
    """
    for outcome in run.outcomes:
        if outcome.status != "ok":
            about = _about(run, [outcome.cell], name)
            yield {**about, "status": outcome.status, "reason": outcome.reason, "seconds": outcome.seconds}
    for metric, cells, identity in run.scored:
        about = _about(run, cells, name)
        scores = run.loop.store.whole_scores(identity) if identity else None
        if scores is None:
            yield {**about, "metric": metric.text, "status": "failed", "reason": "no score was written"}
            continue
        kept = run.loop.store.about_scores(identity)
        about |= {"direction": kept["direction"], "heldout": kept.get("heldout"), "status": "ok"}
        if not scores:
            yield {**about, "metric": metric.text, "reason": "the metric gave no score"}
        for score in scores:
            yield {**about, **_scored(score, _concepts(run, cells))}


def _about(run: RunState, cells: Sequence[Cell], name: str) -> dict[str, Any]:
    first, seeds = cells[0], distinct([cell.seed for cell in cells])
    data_seeds = distinct([cell.data_seed for cell in cells])
    record = run.loop.store.find(run.loop.identity(first)) if len(cells) == 1 else None
    return dict.fromkeys(FIELDS) | {
        "run": name,
        "suite": run.plan.name,
        "label": first.label,
        "method": first.method.text,
        "method_options": json.dumps(dict(first.method.options), sort_keys=True, default=str),
        "classifier": " and ".join(distinct([cell.classifier.text for cell in cells])),
        "layer": first.layer,
        "data": first.data.text,
        "class": first.cls,
        "seed": seeds[0] if len(seeds) == 1 else None,
        "seeds": " ".join(map(str, seeds)),
        "data_seed": data_seeds[0] if len(data_seeds) == 1 else None,
        "record": record.name if record else None,
    }


def _concepts(run: RunState, cells: Sequence[Cell]) -> Sequence[Mapping[str, Any]]:
    """The concepts of an explanation as its record has them; none of a group, whose concepts are several."""
    record = run.loop.store.read(run.loop.identity(cells[0])) if len(cells) == 1 else None
    found: Sequence[Mapping[str, Any]] = ((record or {}).get("explanation") or {}).get("concepts", ())
    return found


def _scored(score: Score, concepts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = score.concept is not None and score.concept < len(concepts)
    concept = concepts[score.concept] if known and score.concept is not None else {}
    return {
        "concept": score.concept,
        "concept_name": concept.get("name"),
        "importance": concept.get("importance"),
        "metric": score.metric,
        "variant": score.variant,
        "value": score.value,
        "spread": score.spread,
        "over": score.over,
        "n": score.n or None,
        "samples": list(score.samples),
        "details": json.dumps(dict(score.details), sort_keys=True),
        "reason": score.reason,
    }


def check_target(path: Path) -> None:
    """Raise if the rows cannot be written to this file: its ending, its folder, or a library that is not there."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path} ends neither in .parquet nor in .csv", f"e.g. --to {path.with_suffix('.parquet')}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write to {path}", "name a file in a folder that exists")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingError(
                "Parquet needs pyarrow, which is not installed", "pip install 'xcore-xai[parquet]', or name a .csv file"
            ) from error


def write(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows to a file, whole or not at all: Parquet or CSV, as its ending says (see `check_target`)."""
    check_target(path)
    if path.suffix == ".csv":
        write_text(path, to_csv(rows))
        return
    unfinished = path.with_name(f".writing-{path.name}")
    try:
        unfinished.write_bytes(to_parquet(rows))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV, with the samples as JSON."""
    plain = ({**row, "samples": json.dumps(row["samples"]) if row["samples"] else None} for row in rows)
    return csv_text(list(FIELDS), plain)


def to_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows as the bytes of a Parquet file, with the types of `FIELDS` however few rows there are."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "list": pa.list_(pa.float64())}
    schema = pa.schema([(name, types[kind]) for name, kind in FIELDS.items()])
    # what is no character, such as a byte of a path, is written with the escape that JSON has for it
    plain = [{key: _encodable(value) for key, value in row.items()} for row in rows]
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(plain, schema=schema), out)
    return out.getvalue()


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value
