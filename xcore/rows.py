"""From the store to rows: one a label x classifier x class x seed x concept, as ``--json`` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xcore.bench import Bench
from xcore.store import read_json
from xcore.types import Cell, Outcome, Score

Row = dict[str, Any]


def rows(bench: Bench, outcomes: list[Outcome]) -> tuple[list[Row], dict[str, str]]:
    """Rows of all cells of a bench, and the metrics in their order with their directions."""
    columns: dict[str, str] = {}
    found = [_scores(bench, o.cell, columns) if o.status == "ok" else [] for o in outcomes]
    whole = {s.metric for scores in found for s in scores if s.concept is None and s.value is not None}
    return [
        row for o, scores in zip(outcomes, found, strict=True) for row in _cell_rows(bench, o, scores, whole)
    ], columns


def _scores(bench: Bench, cell: Cell, columns: dict[str, str]) -> list[Score]:
    """All scores of one explanation. A metric over groups is shown beside each member of the group."""
    found: list[Score] = []
    for metric in bench.plan.metrics:
        over = bench.workbench.registry.find("metric", metric)[0].over
        cells = [c for c in bench.plan.cells if _same_but(c, cell, over)] if over else [cell]
        path = bench.store.root / "scores" / f"{bench.score_identity(metric, cells)}.json"
        scores = bench.store.read_scores(path.stem)
        if scores is None:
            found.append(Score(metric.text, reason="the metric failed: see the log"))
            continue
        direction = read_json(path)["direction"]
        for score in scores:
            columns.setdefault(score.metric, direction)
        found += scores or [Score(metric.text, reason="the metric gave no score")]
    return found


def _same_but(a: Cell, b: Cell, axes: tuple[str, ...]) -> bool:
    fields = ("label", "classifier", "data", "cls", "seed", "data_seed", "layer")
    return all(getattr(a, f) == getattr(b, f) for f in fields if f not in axes)


def _cell_rows(bench: Bench, outcome: Outcome, scores: list[Score], whole: set[str]) -> list[Row]:
    """Rows of one cell; metrics in `whole` judge explanations, the others concepts."""
    cell = outcome.cell
    base: Row = {
        "method": cell.method.text,
        "label": cell.label,
        "classifier": cell.classifier.text,
        "data": cell.data.text,
        "class": cell.cls,
        "seed": cell.seed,
        "concept": None,
        "rank": None,
        "status": outcome.status,
        "reason": outcome.reason,
        "scores": {},
        "overall": {},
        "seconds": outcome.seconds,
        "cached": outcome.cached,
        "note": "",
    }
    if outcome.status != "ok":
        return [base]
    record = bench.store.read(bench.identity(cell)) or {}
    explanation = record["explanation"]
    base["seconds"] = explanation["cost"]["seconds"]  # the method's own: the first cell also loads libraries and data
    overall = keyed(s for s in scores if s.concept is None and s.metric in whole)
    missing = [s for s in scores if s.concept is None and s.metric not in whole]
    result = []
    for index, concept in enumerate(explanation["concepts"]):
        own = [s for s in scores if s.concept == index]
        result.append(
            {
                **base,
                "concept": concept["name"],
                "rank": index + 1,
                "scores": keyed([*missing, *own]),
                "overall": overall if index == 0 else {},
                "note": "; ".join(explanation["notes"]) if index == 0 else "",
            }
        )
    return result or [{**base, "overall": overall, "reason": "the method found no concept"}]


def keyed(scores: Iterable[Score]) -> dict[str, Mapping[str, Any]]:
    """Scores of one concept (or explanation) by metric; further variants of a metric as ``metric [variant]``."""
    found: dict[str, Mapping[str, Any]] = {}
    for score in scores:
        key = score.metric if score.metric not in found else f"{score.metric} [{score.variant or 'no variant'}]"
        found[key] = _plain(score)
    return found


def _plain(score: Score) -> Mapping[str, Any]:
    kept = ("metric", "value", "spread", "over", "n", "variant", "reason")
    return {**{k: getattr(score, k) for k in kept}, "details": dict(score.details)}
