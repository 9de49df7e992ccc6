"""The rows of a run, one for each label, classifier, class, seed and concept, as ``--json`` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import XcoreError
from xcore.base.files import read_json
from xcore.contract.types import Cell, Outcome, Ref, Score
from xcore.registry import Registry
from xcore.report.audits import audits_of, failures, kinds_of
from xcore.report.concepts import ConceptRow, concept_row
from xcore.report.pictures import STRIPS, TEXTS_FILE
from xcore.report.table import MetricInfo
from xcore.store.records import Damaged

if TYPE_CHECKING:
    from xcore.run.loop import Bench
    from xcore.run.plan import Plan

ResultRow = dict[str, Any]


def metric_infos(metrics: Iterable[Ref], registry: Registry) -> dict[str, MetricInfo]:
    """What the cards state about these metrics, by the names of their scores.

    A metric whose plugin is no longer installed gets an empty `MetricInfo`, so that its run can still be shown.
    """
    infos = {}
    for metric in metrics:
        try:
            card, _ = registry.find("metric", metric)
            info = MetricInfo(caveat=card.caveat, column=card.column, details=card.details, audits=audits_of(card))
        except XcoreError:
            info = MetricInfo()
        infos[metric_name(metric.text)] = info
    return infos


def plan_infos(plan: Plan, registry: Registry) -> dict[str, MetricInfo]:
    """What the cards said of the metrics when the plan was made; of plans that do not tell, what they say now.

    What an audit found of a metric is always what is known now.
    """
    infos = metric_infos(plan.metrics, registry)
    for text, card in plan.metric_cards.items():
        told = {"caveat": card["caveat"], "column": card["column"], "details": tuple(card["details"])}
        infos[metric_name(text)] = replace(infos.get(metric_name(text), MetricInfo()), **told)
    return {metric_name(m.text): infos[metric_name(m.text)] for m in plan.metrics}


def metric_definitions(metrics: Iterable[Ref], registry: Registry) -> dict[str, str]:
    """Metric -> what its card says that it measures; a metric whose plugin is no longer installed is left out."""
    found = {}
    for metric in metrics:
        with suppress(XcoreError):
            found[metric_name(metric.text)] = registry.find("metric", metric)[0].summary
    return found


def metric_name(text: str) -> str:
    """The name that a metric's scores carry: CS for the reference ``xcore-metrics/CS``."""
    return text.partition(":")[0].rpartition("/")[2]


def rows(
    bench: Bench, outcomes: list[Outcome], known: Mapping[str, MetricInfo]
) -> tuple[list[ResultRow], dict[str, MetricInfo]]:
    """The rows of all cells of a bench, and what is known about its metrics, in their order.

    A score that judges several cells together stands on the rows of each of them. Scores are plain mappings with the
    keys metric, value, spread, over, n, variant, reason, details, and joint (one value for several seeds).
    """
    columns: dict[str, MetricInfo] = {}
    joint: set[str] = set()
    found: dict[int, list[Score]] = {id(o.cell): [] for o in outcomes}
    heldout: dict[int, int] = {}
    for metric in bench.plan.metrics:
        for cells in bench.groups(bench.across(metric)):
            scores, about = _scores(bench, metric, cells)
            if about:
                for score in scores:
                    info = known.get(score.metric, MetricInfo())
                    columns.setdefault(score.metric, replace(info, direction=about["direction"]))
            for cell in cells:
                found[id(cell)] += scores
                heldout[id(cell)] = max(heldout.get(id(cell), 0), about.get("heldout", 0))
            if len({cell.seed for cell in cells}) > 1:
                joint.update(s.metric for s in scores)
    whole = {s.metric for scores in found.values() for s in scores if s.concept is None and s.value is not None}
    made = [row for o in outcomes for row in _cell_rows(bench, o, found[id(o.cell)], whole, heldout.get(id(o.cell)))]
    _audited(made, known)
    for plain in (s for row in made for field in ("scores", "overall") for s in row[field].values()):
        plain["joint"] = plain["metric"] in joint
    return made, columns


def name_pictures(
    made: Iterable[ResultRow], cells: Sequence[Cell], pictures: Sequence[Sequence[Path]], root: Path
) -> None:
    """Add to each row the picture of its concept ("picture"), and to the first of a cell all others ("pictures").

    The paths are relative to the run, so that equal runs have equal rows.

    Parameters
    ----------
    cells, pictures
        The cells of the run, and the pictures of each (see `xcore.report.picture_paths.write_pictures`).
    """
    of_cell = {(c.label, c.classifier.text, c.cls, c.seed): own for c, own in zip(cells, pictures, strict=True)}
    for row in made:
        own = of_cell[row["label"], row["classifier"], row["class"], row["seed"]]
        strips = {path.name.partition("-")[0]: path for path in own if path.parent.name == STRIPS}
        strip = strips.get(f"{row['rank'] or 0:02d}")
        row["picture"] = None if strip is None else strip.relative_to(root).as_posix()
        if row["rank"] in (1, None):
            row["pictures"] = [path.relative_to(root).as_posix() for path in own if path.parent.name != STRIPS]


def _scores(bench: Bench, metric: Ref, cells: list[Cell]) -> tuple[list[Score], dict[str, Any]]:
    """The scores of a metric for these cells, and what was stored with them (direction, number of held-out samples)."""
    identity = bench.score_identity(metric, cells)
    try:
        scores = bench.store.read_scores(identity)
    except Damaged as error:
        return [Score(metric.text, reason=error.message)], {}
    if scores is None:
        return [Score(metric.text, reason="the metric failed: run the same command again to see why")], {}
    return scores or [Score(metric.text, reason="the metric gave no score")], bench.store.about_scores(identity)


def _cell_rows(
    bench: Bench, outcome: Outcome, scores: list[Score], whole: set[str], heldout: int | None
) -> list[ResultRow]:
    """The rows of one cell. The metrics in `whole` judge whole explanations, the others single concepts."""
    cell = outcome.cell
    base: ResultRow = {
        "method": cell.method.text,
        "label": cell.label,
        "classifier": cell.classifier.text,
        "data": cell.data.text,
        "class": cell.cls,
        "seed": cell.seed,
        "data_seed": cell.data_seed,
        "concept": None,
        "rank": None,
        "status": outcome.status,
        "reason": outcome.reason,
        "scores": {},
        "overall": {},
        "seconds": outcome.seconds,
        "shared_seconds": 0.0,
        "cached": outcome.cached,
        "note": "",
        "heldout": heldout or None,
    }
    if outcome.status != "ok":
        return [base]
    record = bench.store.read(bench.identity(cell)) or {}
    explanation = record["explanation"]
    base["seconds"] = explanation["cost"]["seconds"]  # without loading libraries and data, unlike the outcome's
    base["shared_seconds"] = explanation["cost"]["shared_seconds"]
    of_text = explanation.get("explained") is not None
    kinds = kinds_of(explanation["concepts"])
    overall = keyed(s for s in scores if s.concept is None and s.metric in whole)
    missing = [s for s in scores if s.concept is None and s.metric not in whole]
    result = []
    for index, concept in enumerate(explanation["concepts"]):
        own = [s for s in scores if s.concept == index]
        result.append(
            {
                **base,
                **_described(index, concept, explanation["importance_is"]),
                "scores": keyed([*missing, *own]),
                "overall": overall if index == 0 else {},
                "note": "; ".join(explanation["notes"]) if index == 0 else "",
                "kinds": kinds,
            }
        )
    result = result or [{**base, "overall": overall, "reason": "the method found no concept"}]
    if of_text:
        result[0]["marked"] = _highlighted(bench, cell)
    return result


def _audited(made: Iterable[ResultRow], known: Mapping[str, MetricInfo]) -> None:
    """Say with each value what its metric failed in its audit, for the kind of explanation in the row."""
    for row in made:
        kinds = row.pop("kinds", ())
        for plain in (s for field in ("scores", "overall") for s in row[field].values() if s["value"] is not None):
            audits = known.get(plain["metric"], MetricInfo()).audits
            if failed := failures(audits, plain["variant"], kinds):
                plain["failed_audit"] = list(failed)


def _described(index: int, concept: Mapping[str, Any], importance_is: str) -> ConceptRow:
    """What the record says of one concept; records of the first format lack words or evidence."""
    words, evidence = concept.get("words") or (), concept.get("evidence") or {}
    return concept_row(index, importance_is, concept["name"], words, concept["importance"], evidence)


def _highlighted(bench: Bench, cell: Cell) -> dict[str, Any]:
    """The explained texts with their highlights, as they were written beside the record."""
    record = bench.store.find(bench.identity(cell))
    return read_json(record / TEXTS_FILE, ("texts",)) if record else {}


def keyed(scores: Iterable[Score]) -> dict[str, dict[str, Any]]:
    """The scores of one concept (or explanation) by metric.

    If a metric has several variants, the second and later ones have the key ``metric [variant]``.
    """
    found: dict[str, dict[str, Any]] = {}
    for score in scores:
        key = score.metric if score.metric not in found else f"{score.metric} [{score.variant or 'no variant'}]"
        found[key] = _plain(score)
    return found


def _plain(score: Score) -> dict[str, Any]:
    kept = ("metric", "value", "spread", "over", "n", "variant", "reason")
    return {**{k: getattr(score, k) for k in kept}, "details": dict(score.details)}
