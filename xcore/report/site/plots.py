"""The geometry of the plots on the page, which the templates draw as inline SVG: intervals, and curves over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xcore.report.layout import concept_text, shown_columns
from xcore.report.table import NULL_MEAN, Column, Row, Section, Table, Value

WIDTH = 300.0
"""Units of a plot's width; the browser scales it."""
HEIGHT = 110.0
"""Units of a curve's height."""
REWARDS = ("reward", "effect", "objective", "loss", "error")
"""Numbers of a trace that are drawn as a curve: the first of these that it has."""


class Interval(NamedTuple):
    """One row of a forest plot, in units of the plot's width."""

    label: str
    concept: str
    says: str
    """The figures as text."""
    at: float
    low: float
    high: float
    null: float | None
    dim: bool


class Forest(NamedTuple):
    """The intervals of a metric in one section."""

    title: str
    says: str
    """What the intervals are."""
    rows: tuple[Interval, ...]
    zero: float | None
    """Where 0 is, if the plot has it."""
    ends: tuple[str, str]
    """The numbers at the ends of the axis."""


class Curve(NamedTuple):
    """A line over the steps of a search."""

    title: str
    says: str
    """What it shows, for those who cannot see it."""
    line: str
    """The points of a polyline."""
    dots: tuple[tuple[float, float, bool], ...]
    """x, y and whether something was changed at that step."""
    x_ends: tuple[str, str]
    y_ends: tuple[str, str]


def forests(section: Section, table: Table) -> list[Forest]:
    """A plot of intervals for each metric of a section that has them; the metric that is tested comes first.

    A metric's own interval is that of a detail NAME which has ``NAME_lo`` and ``NAME_hi`` beside it. Others have their
    spread, which is no interval of confidence, and the plot says so.
    """
    rows = [row for row in section.rows if row.rank is not None and row.rank <= table.top]
    columns = [*shown_columns(section, table)]
    tested = [c for c in columns if any(_is_tested(row, c) for row in rows)]
    ordered = [*tested, *(c for c in columns if c not in tested)]
    found = [_forest(rows, c) for c in ordered]
    return [plot for plot in found if plot is not None]


def _is_tested(row: Row, column: Column) -> bool:
    return column in row.values and row.values[column].outside is not None


def _forest(rows: Sequence[Row], column: Column) -> Forest | None:
    values = [
        (row, row.values[column]) for row in rows if column in row.values and row.values[column].value is not None
    ]
    names = [_with_bounds(value) for _, value in values]
    own = next((name for name in names if name), "")
    bounds = [(row, value, _bounds(value, own)) for row, value in values]
    drawn = [(row, value, own_bounds) for row, value, own_bounds in bounds if own_bounds is not None]
    if not drawn:
        return None
    nulls = [_null(value, own) for _, value, _ in drawn]
    known = [x for _, _, b in drawn for x in b] + [x for x in nulls if x is not None] + ([0.0] if own else [])
    low, high = min(known), max(known)
    span = (high - low) or abs(high) or 1.0
    low, high = low - 0.04 * span, high + 0.04 * span
    scale = WIDTH / (high - low)
    made = []
    for (row, _, (at, lo, hi)), null in zip(drawn, nulls, strict=True):
        said = f"{_short(at)} [{_short(lo)}, {_short(hi)}]" + ("" if null is None else f", null {_short(null)}")
        start, left, right = (round((x - low) * scale, 1) for x in (at, lo, hi))
        center = None if null is None else round((null - low) * scale, 1)
        made.append(Interval(row.label, concept_text(row), said, start, left, right, center, row.irrelevant))
    metric = f"{column.metric} [{column.variant}]" if column.variant else column.metric
    seeds = max((len(value.by_seed) for _, value, _ in drawn), default=1)
    if own:
        what = f"{own.replace('_', ' ')} with its interval" + (f", means over {seeds} seeds" if seeds > 1 else "")
    else:
        over = dict.fromkeys(value.over for _, value, _ in drawn if value.over)
        what = (
            f"mean ± standard deviation{' over ' + ', '.join(over) if over else ''}, which is no interval of confidence"
        )
    zero = round(-low * scale, 1) if low <= 0 <= high else None
    return Forest(metric, what, tuple(made), zero, (_short(low), _short(high)))


def _with_bounds(value: Value) -> str:
    """The detail of a value that has an interval, if any; intervals of a null distribution are none of the value."""
    for name in value.details:
        if not name.endswith("null") and f"{name}_lo" in value.details and f"{name}_hi" in value.details:
            return name
    return ""


def _bounds(value: Value, own: str) -> tuple[float, float, float] | None:
    if own:
        found = [value.details.get(key) for key in (own, f"{own}_lo", f"{own}_hi")]
        return None if None in found else (found[0], found[1], found[2])  # type: ignore[return-value]
    if value.value is None or value.spread is None:
        return None
    return value.value, value.value - value.spread, value.value + value.spread


def _null(value: Value, own: str) -> float | None:
    return value.details.get(f"{own}_{NULL_MEAN}" if own else NULL_MEAN)


def snapshot_curve(target: str, snapshots: Sequence[Mapping[str, Any]]) -> Curve | None:
    """The mean probability of the class in the drawings of a trajectory."""
    points = []
    for snapshot in snapshots:
        own = [float(p) for p in snapshot.get("target_probability") or () if _is_number(p)]
        if own and _is_number(snapshot.get("step")):
            points.append((float(snapshot["step"]), sum(own) / len(own), False))
    return _curve(f"Mean probability of {target} in its drawings", points, (0.0, 1.0))


def trace_curve(trace: Sequence[Mapping[str, Any]]) -> Curve | None:
    """What a search gained in each of its steps, if its trace says so; a filled dot is a step with a change."""
    steps = [entry for entry in trace if isinstance(entry, Mapping) and _is_number(entry.get("step"))]
    for name in REWARDS:
        own = [entry for entry in steps if _is_number(entry.get(name))]
        if len(own) > 2:
            points = [(float(e["step"]), float(e[name]), bool(e.get("updated"))) for e in own]
            return _curve(f"{name.capitalize()} in each step of the search", points, None)
    return None


def _curve(title: str, points: Sequence[tuple[float, float, bool]], ends: tuple[float, float] | None) -> Curve | None:
    if len(points) < 2:
        return None
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    low, high = ends or (min(ys), max(ys))
    across, up = (max(xs) - min(xs)) or 1.0, (high - low) or 1.0
    placed = tuple(
        (
            round(4 + (x - min(xs)) / across * (WIDTH - 8), 1),
            round(HEIGHT - 4 - (y - low) / up * (HEIGHT - 8), 1),
            changed,
        )
        for x, y, changed in points
    )
    first, last = (f"{_short(ys[i])} at step {xs[i]:g}" for i in (0, -1))
    says = f"{title}: {first}, {last}; between {_short(min(ys))} and {_short(max(ys))}"
    line = " ".join(f"{x},{y}" for x, y, _ in placed)
    return Curve(title, says, line, placed, (f"{min(xs):g}", f"{max(xs):g}"), (_short(low), _short(high)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
