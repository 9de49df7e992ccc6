"""From the store to rows: one a label x classifier x class x seed x concept, as ``--json`` prints them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xcore.bench import Bench
from xcore.marked import further
from xcore.pictures import MARKED
from xcore.store import read_json
from xcore.types import Cell, Outcome, Ref, Score

Row = dict[str, Any]


def rows(bench: Bench, outcomes: list[Outcome]) -> tuple[list[Row], dict[str, str]]:
    """Rows of all cells of a bench, and the metrics in their order with their directions."""
    columns: dict[str, str] = {}
    joint: set[str] = set()
    found: dict[int, list[Score]] = {id(o.cell): [] for o in outcomes}
    heldout: dict[int, int] = {}
    for metric in bench.plan.metrics:
        for cells in bench.groups(metric):  # what judges a group is shown beside each member of it
            scores, about = _scores(bench, metric, cells)
            if about:
                for score in scores:
                    columns.setdefault(score.metric, about["direction"])
            for cell in cells:
                found[id(cell)] += scores
                heldout[id(cell)] = max(heldout.get(id(cell), 0), about.get("heldout", 0))
            if len({cell.seed for cell in cells}) > 1:
                joint.update(s.metric for s in scores)
    whole = {s.metric for scores in found.values() for s in scores if s.concept is None and s.value is not None}
    made = [row for o in outcomes for row in _cell_rows(bench, o, found[id(o.cell)], whole, heldout.get(id(o.cell)))]
    for plain in (s for row in made for field in ("scores", "overall") for s in row[field].values()):
        plain["joint"] = plain["metric"] in joint  # one value of several seeds, not one a seed
    return made, columns


def _scores(bench: Bench, metric: Ref, cells: list[Cell]) -> tuple[list[Score], dict[str, Any]]:
    """The scores of a metric over these cells, and what was noted with them."""
    path = bench.store.root / "scores" / f"{bench.score_identity(metric, cells)}.json"
    scores = bench.store.read_scores(path.stem)
    if scores is None:
        return [Score(metric.text, reason="the metric failed: run the same command again to see why")], {}
    return scores or [Score(metric.text, reason="the metric gave no score")], read_json(path)


def _cell_rows(bench: Bench, outcome: Outcome, scores: list[Score], whole: set[str], heldout: int | None) -> list[Row]:
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
        "heldout": heldout or None,
    }
    if outcome.status != "ok":
        return [base]
    record = bench.store.read(bench.identity(cell)) or {}
    explanation = record["explanation"]
    base["seconds"] = explanation["cost"]["seconds"]  # the method's own: the first cell also loads libraries and data
    of_text = explanation.get("explained") is not None
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
            | ({"words": list(further(concept["name"], concept["words"]))} if of_text else {})
        )
    result = result or [{**base, "overall": overall, "reason": "the method found no concept"}]
    if of_text:
        result[0]["marked"] = _marked(bench, cell)
    return result


def _marked(bench: Bench, cell: Cell) -> dict[str, Any]:
    """The explained texts with their marks, as the record has them."""
    record = bench.store.find(bench.identity(cell))
    return read_json(record / MARKED, ("texts",)) if record else {}


def keyed(scores: Iterable[Score]) -> dict[str, dict[str, Any]]:
    """Scores of one concept (or explanation) by metric; further variants of a metric as ``metric [variant]``."""
    found: dict[str, dict[str, Any]] = {}
    for score in scores:
        key = score.metric if score.metric not in found else f"{score.metric} [{score.variant or 'no variant'}]"
        found[key] = _plain(score)
    return found


def _plain(score: Score) -> dict[str, Any]:
    kept = ("metric", "value", "spread", "over", "n", "variant", "reason")
    return {**{k: getattr(score, k) for k in kept}, "details": dict(score.details)}
