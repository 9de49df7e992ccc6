"""`compare`: what changed between runs, method by method and metric by metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from xcore.base.errors import UsageError, unknown
from xcore.registry import Registry, load_registry
from xcore.report.comparison.comparable import ACCEPTED, marks, obstacles
from xcore.report.comparison.compared import Compared
from xcore.report.comparison.design import FEW, Case, Values, change
from xcore.report.comparison.lines import Line, Pair, PicturePair, Verdict
from xcore.report.comparison.runs import RunRecords, read_runs
from xcore.report.comparison.statistics import holm
from xcore.report.rows import ResultRow, metric_name
from xcore.report.table import MetricInfo, Table

LEVEL = 0.05
"""Adjusted p-value from which on down a difference counts."""
TOP = Table(()).top
"""Concepts whose mean is compared, where a metric judges concepts: those that tables show."""


def compare(
    *runs: str | Path,
    match: Mapping[str, str] | None = None,
    accept: Sequence[str] = (),
    registry: Registry | None = None,
) -> Compared:
    """Compare the first run with each of the others: better, worse, or no difference.

    A value is the score of the whole explanation where a metric judges these, else the mean over the first three
    concepts. Classes are the sample, with their seeds averaged; within a single class its seeds are. What both runs
    share is paired. The p-values of all that is tested are corrected together (Holm).

    Parameters
    ----------
    *runs
        Run directories, two or more. Nothing in them is changed.
    match
        Label or classifier of the first run -> what it is called in the others, where the names differ.
    accept
        Differences of how both runs were measured that a verdict is given in spite of; see
        `xcore.report.comparison.comparable.ACCEPTED`.
    registry
        The plugins; default: those that are installed.

    Returns
    -------
    Compared
        It shows itself in a notebook and when it is printed.

    Raises
    ------
    UsageError
        A run cannot be read, a name is unknown, or two runs have nothing in common.
    """
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs", "name a second run directory")
    for name in accept:
        if name not in ACCEPTED:
            raise unknown("difference to accept", name, ACCEPTED)
    first, *others = read_runs([Path(run) for run in runs], registry or load_registry())
    pairs = [_compared(first, other, match or {}, accept) for other in others]
    lines = iter(_judged([line for pair in pairs for line in pair.lines]))
    judged = [replace(pair, lines=tuple(next(lines) for _ in pair.lines)) for pair in pairs]
    return Compared(first.name, first.path, tuple(judged))


def _compared(a: RunRecords, b: RunRecords, match: Mapping[str, str], accept: Sequence[str]) -> Pair:
    """Everything that two runs have in common; `verdict` and `adjusted` are still open."""
    labels, networks = _matched(a, b, match)
    lines = [
        line
        for network, other in networks.items()
        for label, called in labels.items()
        for line in _lines(_rows(a, network, label), _rows(b, other, called), a, b, accept)
    ]
    notes = [*marks(a, b, labels, networks), *_left_out(a, b, labels, networks)]
    return Pair(b.name, b.path, tuple(lines), tuple(notes), tuple(_pictures(a, b, labels, networks)))


def _matched(a: RunRecords, b: RunRecords, match: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Label and classifier of the first run -> that of the second, for those that both have."""
    ours, theirs = _names(a), _names(b)
    for old, new in match.items():
        if old not in (*ours[0], *ours[1]):
            raise unknown(f"label or classifier of {a.name}", old, (*ours[0], *ours[1]))
        if new not in theirs[old not in ours[0]]:
            raise unknown(f"{'label' if old in ours[0] else 'classifier'} of {b.name}", new, theirs[old not in ours[0]])
    labels, networks = (
        {name: match.get(name, name) for name in mine if match.get(name, name) in other}
        for mine, other in zip(ours, theirs, strict=True)
    )
    for what, mine, other, found in zip(("method", "network"), ours, theirs, (labels, networks), strict=True):
        if not found:
            said = f"{a.name} has {', '.join(mine)}, {b.name} has {', '.join(other)}"
            hint = f"say which are compared: --match {mine[0]}={other[0]}"
            raise UsageError(f"the runs have no {what} in common: {said}", hint)
    return labels, networks


def _names(run: RunRecords) -> tuple[list[str], list[str]]:
    cells = run.plan.cells
    return list(dict.fromkeys(c.label for c in cells)), list(dict.fromkeys(c.classifier.text for c in cells))


def _rows(run: RunRecords, network: str, label: str) -> list[ResultRow]:
    done = (row for row in run.rows if row["status"] != "pending")
    return [row for row in done if row["classifier"] == network and row["label"] == label]


def _lines(
    before: Sequence[ResultRow], after: Sequence[ResultRow], a: RunRecords, b: RunRecords, accept: Sequence[str]
) -> Iterator[Line]:
    """One line a metric and variant of one method and network."""
    ours, theirs = _measured(before, a), _measured(after, b)
    if not before or not after:
        return
    about = {"data": before[0]["data"], "classifier": before[0]["classifier"], "label": before[0]["label"]}
    classes = {row["class"] for row in before} & {row["class"] for row in after}
    for (metric, variant), mine in ours.items():
        direction = a.metrics.get(metric, MetricInfo()).direction
        line = Line(metric=metric, variant=variant, direction=direction, **about)
        other = theirs.get((metric, variant))
        refused = {name: why for name, why in obstacles(a, b, metric).items() if name not in accept}
        elsewhere = sorted(v for m, v in theirs if m == metric and v != variant)
        if metric not in _asked(b):
            yield replace(line, before=_mean(mine), verdict="not comparable", reason=f"{b.name} has no such metric")
        elif metric in b.metrics and direction != b.metrics[metric].direction:
            both = f"better is {direction!r} and {b.metrics[metric].direction!r}"
            yield replace(line, before=_mean(mine), verdict="not comparable", reason=both)
        elif other is None and elsewhere and variant:
            why = f"{b.name} has other variants: {', '.join(elsewhere)}"
            yield replace(line, before=_mean(mine), verdict="not comparable", reason=why)
        elif refused:
            blocked = f"{'; '.join(refused.values())}; to compare all the same: --accept {','.join(refused)}"
            yield replace(line, before=_mean(mine), after=_mean(other), verdict="not comparable", reason=blocked)
        elif other is None or not other.of:
            if mine.of:
                lost = _reason(after, metric) or "no value"
                yield replace(line, before=_mean(mine), verdict="lost", reason=f"n/a in {b.name}: {lost}")
        elif not mine.of:
            yield replace(line, after=_mean(other), verdict="new", reason=f"n/a in {a.name}: {_reason(before, metric)}")
        else:
            yield _tested(line, mine, other, classes, _reason(after, metric), b.name)
    for metric, variant in theirs.keys() - ours.keys():
        if metric not in _asked(a) and theirs[metric, variant].of:
            value = _mean(theirs[metric, variant])
            line = Line(metric=metric, variant=variant, direction=b.metrics[metric].direction, **about)
            yield replace(line, after=value, verdict="new", reason=f"{a.name} has no such metric")


def _asked(run: RunRecords) -> set[str]:
    """The metrics that a run was asked for; one that failed everywhere has no scores."""
    return {metric_name(metric.text) for metric in run.plan.metrics}


def _tested(line: Line, a: Values, b: Values, classes: set[str], reason: str, name: str) -> Line:
    found = change(a, b)
    shared = {case for case in a.of if case[0] in classes}
    asked = {case for case in b.draws if case in shared}  # what the other run was asked for, with a value or not
    lost = sorted(case for case in asked if case not in b.of)
    estimate = found.estimate
    few = f"few {found.unit} are few samples: n = {estimate.n}" if estimate.n < FEW else ""
    gone = f"{len(lost)} of {len(shared)} values are n/a in {name}: {reason or 'no value'}" if lost else ""
    return replace(
        line,
        before=found.before,
        after=found.after,
        difference=estimate.difference,
        low=estimate.low,
        high=estimate.high,
        p=estimate.p,
        n=estimate.n,
        unit=found.unit,
        test=estimate.test,
        design=found.design,
        lost=len(lost),
        verdict="" if estimate.p is not None else "no test",
        reason="; ".join(filter(None, (gone, found.remark, few))),
    )


def _judged(lines: Sequence[Line]) -> list[Line]:
    """The lines with p-values adjusted for all that is tested, and their verdicts."""
    tested = [line for line in lines if line.p is not None]
    adjusted = iter(holm([line.p for line in tested if line.p is not None]))
    return [_verdict(line, next(adjusted)) if line.p is not None else line for line in lines]


def _verdict(line: Line, adjusted: float) -> Line:
    rise = line.difference or 0.0
    verdict: Verdict
    if adjusted > LEVEL:
        verdict = "no difference"
    elif line.direction not in ("higher", "lower"):
        verdict = "different"
    else:
        verdict = "better" if (rise > 0) == (line.direction == "higher") else "worse"
    return replace(line, adjusted=adjusted, verdict=verdict)


# -- values ------------------------------------------------------------------------------------------------------------
def _measured(rows: Sequence[ResultRow], run: RunRecords) -> dict[tuple[str, str], Values]:
    """(metric, variant) -> its values in these rows, of the metrics that tables show."""
    draws: dict[Case, int] = {(row["class"], row["seed"]): row["data_seed"] for row in rows}
    found: dict[tuple[str, str], dict[Case, list[float]]] = {}
    joint: dict[tuple[str, str], bool] = {}
    whole = {score["metric"] for row in rows for score in row["overall"].values() if score["value"] is not None}
    for row in rows:
        case = row["class"], row["seed"]
        judged = [s for s in row["scores"].values() if s["metric"] not in whole and (row["rank"] or 1) <= TOP]
        for score in (*judged, *row["overall"].values()):
            metric = metric_name(score["metric"])
            if run.metrics.get(metric, MetricInfo()).column:
                key = metric, score["variant"] or ""
                values = found.setdefault(key, {})
                joint[key] = joint.get(key, False) or bool(score.get("joint"))
                if score["value"] is not None:
                    values.setdefault(case, []).append(float(score["value"]))
    named = {metric for (metric, variant), values in found.items() if variant or values}
    return {
        key: Values({case: fmean(of) for case, of in values.items()}, draws, joint[key])
        for key, values in found.items()
        if values or key[0] not in named  # a score without a value may not know its variant
    }


def _mean(values: Values | None) -> float | None:
    return fmean(values.of.values()) if values and values.of else None


def _reason(rows: Sequence[ResultRow], metric: str) -> str:
    """Why a metric has no value in some of these rows; "" if none lacks one."""
    reasons = dict.fromkeys(f"{row['status']}: {row['reason']}" for row in rows if row["status"] != "ok")
    scores = (s for row in rows for field in ("scores", "overall") for s in row[field].values())
    reasons |= dict.fromkeys(s["reason"] for s in scores if metric_name(s["metric"]) == metric and s["value"] is None)
    return "; ".join(filter(None, reasons))


# -- the rest ----------------------------------------------------------------------------------------------------------
def _left_out(a: RunRecords, b: RunRecords, labels: Mapping[str, str], networks: Mapping[str, str]) -> Iterator[str]:
    """What only one of the runs has, and is therefore not compared."""
    for one, other, ours, theirs in ((a, b, {*labels}, {*networks}), (b, a, {*labels.values()}, {*networks.values()})):
        cells = one.plan.cells
        parts = [
            _only("method", (c.label for c in cells if c.label not in ours)),
            _only("network", (c.classifier.text for c in cells if c.classifier.text not in theirs)),
            _only("class", (c.cls for c in cells if c.cls not in {d.cls for d in other.plan.cells})),
            _only("seed", (str(c.seed) for c in cells if c.seed not in {d.seed for d in other.plan.cells})),
        ]
        if said := [part for part in parts if part]:
            yield f"only {one.name} has {', '.join(said)}"


def _only(what: str, names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    plural = "es" if what.endswith("s") else "s"
    return f"the {what}{plural if len(found) > 1 else ''} {' and '.join(found)}" if found else ""


def _pictures(
    a: RunRecords, b: RunRecords, labels: Mapping[str, str], networks: Mapping[str, str]
) -> Iterator[PicturePair]:
    """The pictures of each class and method: of the first seed that both runs have, else of the first of each."""
    for network, other in networks.items():
        for cls in dict.fromkeys(cell.cls for cell in a.plan.cells):
            for label, called in labels.items():
                ours, theirs = _seeds(a, network, cls, label), _seeds(b, other, cls, called)
                if ours and theirs:
                    same = [seed for seed in ours if seed in theirs]
                    seeds = (same or [*ours])[0], (same or [*theirs])[0]
                    yield PicturePair(network, cls, label, *seeds, ours[seeds[0]], theirs[seeds[1]])


def _seeds(run: RunRecords, network: str, cls: str, label: str) -> dict[int, Path]:
    """Seed -> picture."""
    return {
        seed: file
        for (classifier, name, method, seed), file in run.pictures.items()
        if (classifier, name, method) == (network, cls, label)
    }
