"""Build the table from the rows of a run: seeds are combined, concept by concept in order of rank.

Not with pandas: importing it takes as long as the whole report, and its mean and standard deviation differ in the last
digits from those of `statistics`, which are exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from xcore.report.highlighted import from_plain
from xcore.report.notes import legend, section_notes
from xcore.report.table import MARK, OUTSIDE, CellTexts, Column, MetricInfo, Row, Section, Table, Value, clean

Rows = Sequence[Mapping[str, Any]]


def build(
    rows: Iterable[Mapping[str, Any]],
    metrics: Mapping[str, MetricInfo],
    *,
    header: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    top: int = 3,
) -> Table:
    """Combine the rows of a run into a table.

    Parameters
    ----------
    rows
        The lines of ``xcore bench --json`` as mappings. Labels, classes and classifiers keep their order.
    metrics
        Metric -> what is known about it, in the order in which metrics are shown. A metric that is missing here but has
        scores in the rows is shown last, without an arrow.
    header
        Other facts for ``table.json``, such as "run" (the path of the run directory).
    notes
        Notes on the whole run, which stand before those that the table itself gives rise to.
    top
        How many concepts of each method the renderers for people show. The table itself, and the CSV, JSON and Parquet
        files, have all of them.

    Returns
    -------
    Table
        One section for each data set, classifier and class. A value is the mean over seeds of the concepts of one rank;
        its spread is the sample standard deviation over seeds (ddof 1) or, with one seed, the spread of the score
        itself. Variants of a metric are never combined: each has its own column.
    """
    given = list(rows)
    labels = list(dict.fromkeys(row["label"] for row in given))
    places: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in given:
        places.setdefault((row["data"], row["classifier"], row["class"]), []).append(row)
    sections, shares = [], _shares(given)
    for (data, classifier, cls), here in places.items():
        shown = _columns(here, metrics)
        combined: list[Row] = []
        for label in labels:
            combined += _method([row for row in here if row["label"] == label], shown, shares)
        found = section_notes(here, shown, combined)
        seen = max((row["heldout"] for row in here if row.get("heldout")), default=None)
        with_texts = [row for row in here if row.get("marked")]
        texts = tuple(CellTexts(clean(row["label"]), row["seed"], from_plain(row["marked"])) for row in with_texts)
        sections.append(Section(clean(data), clean(classifier), clean(cls), shown, tuple(combined), found, seen, texts))
    below = legend(sections, metrics, _same_samples(given))
    return Table(tuple(sections), dict(metrics), dict(header or {}), (*notes, *below), top)


def _shares(rows: Rows) -> dict[tuple[str, str, str], float]:
    """(method, data, classifier) -> seconds of the work that its explanations have in common, for each of them.

    Only the first explanation that needs such work takes the time for it. Arms of one method have it in common, too.
    """
    taken: dict[tuple[str, str, str], dict[tuple[str, str, int], float]] = {}
    for row in rows:
        if row["status"] == "ok":
            of_method = taken.setdefault((row["method"], row["data"], row["classifier"]), {})
            of_method[row["label"], row["class"], row["seed"]] = row.get("shared_seconds") or 0.0
    return {method: fmean(seconds.values()) for method, seconds in taken.items()}


def _same_samples(rows: Rows) -> bool | None:
    """Whether all seeds of a run have the same samples, or each has its own draw; None if the rows do not say."""
    draws = {row["seed"]: row["data_seed"] for row in rows if row.get("data_seed") is not None}
    return len(set(draws.values())) < len(draws) if len(draws) > 1 else None


def _columns(rows: Rows, metrics: Mapping[str, MetricInfo]) -> tuple[Column, ...]:
    """The columns of a section, one for each variant of a metric.

    Metrics that judge concepts come before those that judge whole explanations, both in the order of `metrics`.
    """
    shown = []
    for field, whole in (("scores", False), ("overall", True)):
        variants: dict[str, dict[str, None]] = {}
        for row in rows:
            for metric, score in _scores(row, field):
                names = variants.setdefault(metric, {})
                if score.get("variant") or score.get("value") is not None:
                    names[score.get("variant") or ""] = None
        order = [m for m in metrics if m in variants] + [m for m in variants if m not in metrics]
        for metric in order:
            direction = metrics[metric].direction if metric in metrics else "none"
            for variant in variants[metric] or {"": None}:
                shown.append(Column(metric, variant, direction, whole))
    return tuple(shown)


def _scores(row: Mapping[str, Any], field: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The scores of a row with the names of their metrics. The key of a second variant is not the metric's name."""
    return [(score.get("metric") or key, score) for key, score in (row.get(field) or {}).items()]


def _method(rows: Rows, columns: Sequence[Column], shares: Mapping[tuple[str, str, str], float]) -> list[Row]:
    """The rows of one label in one section: concepts by rank, then failed and skipped cells by reason."""
    made = [row for row in rows if row["status"] == "ok"]
    ranks: dict[int, list[Mapping[str, Any]]] = {}
    for row in made:
        ranks.setdefault(row["rank"] or 0, []).append(row)
    whole = [row for row in made if row.get("overall")]
    seconds = list({row["seed"]: row["seconds"] for row in made if row.get("seconds") is not None}.values())
    combined: list[Row] = []
    for rank in sorted(ranks):
        same = ranks[rank]
        values = _values(same, "scores", columns)
        first = not combined
        if first:
            values |= _values(whole, "overall", columns)
        names = Counter(clean(row["concept"]) for row in same if row["concept"] is not None)
        combined.append(
            Row(
                clean(same[0]["method"]),
                clean(same[0]["label"]),
                "ok",
                tuple(sorted({row["seed"] for row in same})),
                reason="" if rank else "no concept found",
                rank=rank or None,
                names=dict(names.most_common()),
                words={clean(row["concept"]): tuple(row["words"]) for row in reversed(same) if row.get("words")},
                values=values,
                seconds=fmean(seconds) if first and seconds else None,
                shared_seconds=shares[same[0]["method"], same[0]["data"], same[0]["classifier"]] if first else None,
            )
        )
    unfinished: dict[tuple[Any, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] != "ok":
            unfinished.setdefault((row["status"], clean(row.get("reason") or "no reason given")), []).append(row)
    for (status, reason), same in unfinished.items():
        seeds = tuple(sorted({row["seed"] for row in same}))
        combined.append(Row(clean(same[0]["method"]), clean(same[0]["label"]), status, seeds, reason))
    return combined


def _values(rows: Rows, field: str, columns: Sequence[Column]) -> dict[Column, Value]:
    """Column -> the value over the seeds of these rows, for the columns in which they have scores."""
    by_metric: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for row in rows:
        for metric, score in _scores(row, field):
            by_metric.setdefault(metric, []).append((row["seed"], score))
    values = {}
    begun: set[str] = set()
    for column in columns:
        if column.whole != (field == "overall"):
            continue
        scores = by_metric.get(column.metric, [])
        own = {seed: s for seed, s in scores if (s.get("variant") or "") == column.variant}
        if column.metric not in begun:  # a score without a value may not know its variant: the first column shows it
            blank = {seed: s for seed, s in scores if s.get("value") is None and not s.get("variant")}
            own = {**blank, **own}
        begun.add(column.metric)
        if own:
            values[column] = combine(own)
    return values


def combine(scores: Mapping[int, Mapping[str, Any]]) -> Value:
    """Combine the scores of several seeds (seed -> score) into one value."""
    good = {seed: float(s["value"]) for seed, s in sorted(scores.items()) if _finite(s.get("value"))}
    reasons = {seed: _reason(s) for seed, s in sorted(scores.items()) if seed not in good}
    if not good:
        return Value(None, reasons=reasons)
    kept = [scores[seed] for seed in good]
    keys = dict.fromkeys(key for s in kept for key in (s.get("details") or {}))
    found = {key: [s["details"][key] for s in kept if _finite((s.get("details") or {}).get(key))] for key in keys}
    details = {key: fmean(numbers) for key, numbers in found.items() if numbers}
    tested = found.get(OUTSIDE) or []
    outside = (sum(map(bool, tested)), len(tested)) if tested else None
    lowers = sum(mark < 0 for mark in found[MARK]) if outside and MARK in found else None
    failed = tuple(dict.fromkeys(part for s in kept for part in s.get("failed_audit") or ()))
    if len(good) > 1 and not all(s.get("joint") for s in kept):
        mean, deviation = fmean(good.values()), stdev(good.values())
        return Value(mean, deviation, "seeds", len(good), good, reasons, details, outside, lowers, failed)
    spread = kept[0].get("spread")
    own = float(spread) if spread is not None and _finite(spread) else None
    over, n = clean(kept[0].get("over") or ""), int(kept[0].get("n") or 0)
    return Value(next(iter(good.values())), own, over, n, good, reasons, details, outside, lowers, failed)


def _finite(number: Any) -> bool:
    return isinstance(number, (int, float)) and math.isfinite(number)


def _reason(score: Mapping[str, Any]) -> str:
    value = score.get("value")
    return clean(score.get("reason") or ("no reason given" if value is None else f"the value is not finite ({value})"))
