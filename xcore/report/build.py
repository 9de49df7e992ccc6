"""From rows (one a label x classifier x class x seed x concept) to the table: seeds combined by rank."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from xcore.marked import from_plain
from xcore.report.notes import legend, section_notes
from xcore.report.table import OUTSIDE, Column, Row, Section, Shown, Table, Value, clean

Rows = Sequence[Mapping[str, Any]]


def build(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    header: Mapping[str, Any] | None = None,
    top: int = 3,
) -> Table:
    """Combine the rows of a run into a table.

    Parameters
    ----------
    rows
        The lines of ``xcore bench --json`` as mappings; labels, classes and classifiers keep the order they come in.
    columns
        Metric -> "higher", "lower" or "none", in the order in which metrics are shown. A metric that is only in the
        rows is shown last, without an arrow.
    header
        What else the reader needs: "run" (path).
    top
        Renderers for people show so many concepts of each method; the table, CSV and JSON hold all.

    Returns
    -------
    Table
        One section a data set x classifier x class. A value is the mean over seeds of the concepts of one rank, its
        spread the sample standard deviation over seeds (ddof 1), or with one seed the score's own spread. Variants of
        a metric are never combined: each is a column.
    """
    given = list(rows)
    labels = list(dict.fromkeys(row["label"] for row in given))
    places: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in given:
        places.setdefault((row["data"], row["classifier"], row["class"]), []).append(row)
    sections = []
    for (data, classifier, cls), here in places.items():
        shown = _columns(here, columns)
        combined: list[Row] = []
        for label in labels:
            combined += _method([row for row in here if row["label"] == label], shown)
        found = section_notes(here, shown, combined)
        seen = max((row["heldout"] for row in here if row.get("heldout")), default=None)
        texts = tuple(Shown(clean(r["label"]), r["seed"], from_plain(r["marked"])) for r in here if r.get("marked"))
        sections.append(Section(clean(data), clean(classifier), clean(cls), shown, tuple(combined), found, seen, texts))
    return Table(tuple(sections), dict(header or {}), legend(sections), top)


def _columns(rows: Rows, directions: Mapping[str, str]) -> tuple[Column, ...]:
    """Columns of a section: concept metrics first, in the order of `directions`, one column a variant."""
    shown = []
    for field, whole in (("scores", False), ("overall", True)):
        variants: dict[str, dict[str, None]] = {}
        for row in rows:
            for metric, score in _scores(row, field):
                names = variants.setdefault(metric, {})
                if score.get("variant") or score.get("value") is not None:
                    names[score.get("variant") or ""] = None
        order = [m for m in directions if m in variants] + [m for m in variants if m not in directions]
        for metric in order:
            for variant in variants[metric] or {"": None}:
                shown.append(Column(metric, variant, directions.get(metric, "none"), whole))
    return tuple(shown)


def _scores(row: Mapping[str, Any], field: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The scores of a row with their metrics; a further variant of a metric has a key of its own and names it."""
    return [(score.get("metric") or key, score) for key, score in (row.get(field) or {}).items()]


def _method(rows: Rows, columns: Sequence[Column]) -> list[Row]:
    """The rows of one label in one section: concepts by rank, then what failed or was skipped, by reason."""
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
            )
        )
    lost: dict[tuple[Any, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] != "ok":
            lost.setdefault((row["status"], clean(row.get("reason") or "no reason given")), []).append(row)
    for (status, reason), same in lost.items():
        seeds = tuple(sorted({row["seed"] for row in same}))
        combined.append(Row(clean(same[0]["method"]), clean(same[0]["label"]), status, seeds, reason))
    return combined


def _values(rows: Rows, field: str, columns: Sequence[Column]) -> dict[Column, Value]:
    """Column -> value over the seeds of these rows, for the columns that the rows have scores in."""
    values = {}
    for column in columns:
        if column.whole != (field == "overall"):
            continue
        scores = [(row["seed"], s) for row in rows for metric, s in _scores(row, field) if metric == column.metric]
        alone = sum(c.metric == column.metric and c.whole == column.whole for c in columns) == 1
        # A score without a value may not know its variant: it belongs to the metric's only column, or to the first.
        own = {seed: s for seed, s in scores if (s.get("variant") or "") == column.variant}
        blank = {seed: s for seed, s in scores if s.get("value") is None and not s.get("variant")}
        if alone or column == next(c for c in columns if c.metric == column.metric and c.whole == column.whole):
            own = {**blank, **own}
        if own:
            values[column] = combine(own)
    return values


def combine(scores: Mapping[int, Mapping[str, Any]]) -> Value:
    """One value from the scores of several seeds (seed -> score)."""
    good = {seed: float(s["value"]) for seed, s in sorted(scores.items()) if _finite(s.get("value"))}
    reasons = {seed: _reason(s) for seed, s in sorted(scores.items()) if seed not in good}
    if not good:
        return Value(None, reasons=reasons)
    kept = [scores[seed] for seed in good]
    keys = dict.fromkeys(key for s in kept for key in (s.get("details") or {}))
    found = {key: [s["details"][key] for s in kept if _finite((s.get("details") or {}).get(key))] for key in keys}
    details = {key: fmean(numbers) for key, numbers in found.items() if numbers}
    told = found.get(OUTSIDE) or []
    outside = (sum(map(bool, told)), len(told)) if told else None
    if len(good) > 1 and not all(s.get("joint") for s in kept):
        return Value(fmean(good.values()), stdev(good.values()), "seeds", len(good), good, reasons, details, outside)
    spread = kept[0].get("spread")
    own = float(spread) if spread is not None and _finite(spread) else None
    over, n = clean(kept[0].get("over") or ""), int(kept[0].get("n") or 0)
    return Value(next(iter(good.values())), own, over, n, good, reasons, details, outside)


def _finite(number: Any) -> bool:
    return isinstance(number, (int, float)) and math.isfinite(number)


def _reason(score: Mapping[str, Any]) -> str:
    value = score.get("value")
    return clean(score.get("reason") or ("no reason given" if value is None else f"the value is not finite ({value})"))
