"""Gates: `craft.TS >= 0.9`, judged on the values of the table.

A gate without a class is judged in every class of every classifier, and one without a variant in every variant that the
label has. Without `[C2]` it reads the whole explanation where the metric judges whole explanations, else the first
concept: always the mean over seeds that the table shows. A value that lacks a seed is missed, whatever the others say.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from xcore.base.errors import UsageError, unknown
from xcore.ci.verdict import Verdict, absence, number, place, spread
from xcore.report.table import MetricInfo, Row, Section, Table, Value, clean

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
SECONDS = "seconds"
"""What the record says an explanation took; no metric is needed for it."""
CLOSE = 1e-9
"""Relative difference that is rounding: 0.3 is no less than 0.1 + 0.2."""

_FORM = re.compile(r"(?P<what>.+?)\s*(?P<op>>=|<=|>|<)\s*(?P<bound>[^<>=\s]+)\s*")
_WHAT = re.compile(r"(?P<label>.+?)\.(?P<metric>[^.\s\[\]][^.\[\]]*?)(?P<picks>(\[[^\[\]]+\])*)(\s+on\s+(?P<cls>.+))?")
_RANK = re.compile(r"C([1-9]\d*)")
EXAMPLE = "e.g. --gate 'craft.TS>=0.9' or --gate 'craft.CS[C2] on zebra <= 0.5'"


@dataclass(frozen=True)
class Gate:
    """A value of the table and the bound that it has to keep."""

    label: str
    metric: str
    op: str
    bound: float
    variant: str = ""
    """"" = every variant that the label has."""
    rank: int | None = None
    """Concept; None = the whole explanation, or the first concept where the metric judges concepts."""
    cls: str = ""
    """"" = every class."""

    @property
    def target(self) -> str:
        """What it reads, as it is written."""
        variant = f"[{self.variant}]" if self.variant else ""
        return f"{self.label}.{self.metric}{variant}{f'[C{self.rank}]' if self.rank else ''}"

    @property
    def rule(self) -> str:
        return f"{self.op} {self.bound:.12g}"

    def __str__(self) -> str:
        return f"{self.target}{f' on {self.cls}' if self.cls else ''} {self.rule}"


@cache
def parse(text: str) -> Gate:
    """Read ``LABEL.METRIC[VARIANT][Ck] on CLASS OP VALUE``; raises `UsageError` if it is not of that form."""
    form = _FORM.fullmatch(text.strip())
    what = _WHAT.fullmatch(form["what"]) if form else None
    if not form or not what:
        raise UsageError(f"gate {text!r} is not of the form LABEL.METRIC OP VALUE", EXAMPLE)
    try:
        bound = float(form["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UsageError(f"gate {text!r}: {form['bound']!r} is not a number", EXAMPLE)
    picks = re.findall(r"\[([^\[\]]+)\]", what["picks"])
    ranks = [int(m[1]) for p in picks if (m := _RANK.fullmatch(p))]
    variants = [p for p in picks if not _RANK.fullmatch(p)]
    if len(ranks) > 1 or len(variants) > 1:
        raise UsageError(f"gate {text!r} picks more than one concept or variant", "write a gate for each")
    rank, variant = ranks[0] if ranks else None, "".join(variants)
    return Gate(what["label"].strip(), what["metric"], form["op"], bound, variant, rank, what["cls"] or "")


def check_labels(gates: Iterable[str], labels: Iterable[str]) -> None:
    """Raise `UsageError` for the first gate on a label that is not among these, with the nearest one."""
    labels = list(labels)
    for text in gates:
        if (gate := parse(text)).label not in labels:
            raise unknown(f"label in gate {text!r}:", gate.label, labels)


def check_metrics(gates: Iterable[str], asked: Mapping[str, MetricInfo], offered: Mapping[str, MetricInfo]) -> None:
    """Raise `UsageError` for the first gate on what no metric of this run gives.

    Parameters
    ----------
    asked
        The metrics of the run.
    offered
        All metrics that are installed: a detail of one that is not asked for is told apart from an unknown name.
    """
    whole = {SECONDS, *details(asked)}
    for text in gates:
        gate = parse(text)
        if gate.metric not in (*asked, *whole):
            if gate.metric in (of := details(offered)):
                text = f"gate {text!r} reads the metric {of[gate.metric]!r}, which is not asked for"
                raise UsageError(text, "add it to --metrics")
            raise unknown(f"metric in gate {text!r}:", gate.metric, (*asked, *whole))
        if gate.metric in whole and (gate.rank or gate.variant):
            raise UsageError(f"gate {text!r}: {gate.metric} is of the whole explanation", "leave out the brackets")


def details(metrics: Mapping[str, MetricInfo]) -> dict[str, str]:
    """Detail of a metric that can be named as if it were one -> the metric."""
    return {detail: metric for metric, info in metrics.items() for detail in info.details}


def check_classes(gates: Iterable[Gate], classes: Iterable[str]) -> None:
    """Raise `UsageError` for the first gate on a class that is not among these."""
    classes = set(classes)
    for gate in gates:
        if gate.cls and gate.cls not in classes:
            raise unknown(f"class in gate {str(gate)!r}:", gate.cls, classes)


def merge(suite: Iterable[str], given: Iterable[str]) -> list[str]:
    """The gates of a suite and those given beside it, which win where they bound the same value on the same side."""
    given = list(given)
    won = {_bounded(text) for text in given}
    return list(dict.fromkeys([*(text for text in suite if _bounded(text) not in won), *given]))


def _bounded(text: str) -> tuple[str, str, str]:
    """The value and the side on which a gate bounds it."""
    gate = parse(text)
    return gate.target, gate.cls, gate.op[0]


def judge(table: Table, gates: Iterable[Gate], metrics: Mapping[str, MetricInfo]) -> list[Verdict]:
    """One verdict a gate x section x variant, in the order of the gates.

    A gate of a suite on a label, class or metric that was left out of this run is noted, not missed: flags chose less
    than the suite holds.
    """
    verdicts, names = [], {*metrics, SECONDS, *details(metrics)}
    for asked in gates:
        gate = replace(asked, label=clean(asked.label), cls=clean(asked.cls))  # as the table names them
        found = [
            _verdict(gate, f"{gate.target}{suffix} on {place(table, section)}", section, value)
            for section in table.sections
            if gate.metric in names
            if gate.cls in ("", section.cls) and any(row.label == gate.label for row in section.rows)
            for suffix, value in _values(section, gate, details(metrics))
        ]
        if not found:
            on = f" on {gate.cls}" if gate.cls else ""
            found = [Verdict("gate", gate.target + on, "noted", "not judged: not part of this run", gate.rule)]
        verdicts += found
    return verdicts


def _values(section: Section, gate: Gate, of: Mapping[str, str]) -> list[tuple[str, Value | None]]:
    """What the gate reads in a section: the variant, where it has to be told, and the value."""
    rows = [row for row in section.rows if row.label == gate.label and row.status == "ok"]
    if gate.metric == SECONDS or gate.metric in of:
        return [("", whole_value(rows, gate.metric, of))]
    whole = gate.rank is None and any(c.whole for c in section.columns if c.metric == gate.metric)
    rank = gate.rank or 1
    read = rows if whole else [row for row in rows if row.rank == rank]
    found = {
        column: value
        for row in read
        for column, value in row.values.items()
        if column.metric == gate.metric and column.whole == whole and gate.variant in ("", column.variant)
    }
    several = len(found) > 1
    return [(f"[{column.variant}]" if several else "", value) for column, value in found.items()] or [("", None)]


def whole_value(rows: Sequence[Row], name: str, of: Mapping[str, str]) -> Value | None:
    """Seconds of a label, or a detail of a metric: the mean over the seeds that its rows are of."""
    if name == SECONDS:
        # as in the column s, with the share of what explanations of the method have in common
        seconds = next((row.seconds + (row.shared_seconds or 0) for row in rows if row.seconds is not None), None)
        seeds = dict.fromkeys((seed for row in rows for seed in row.seeds), seconds or 0.0)
        return None if seconds is None else Value(seconds, n=len(seeds), by_seed=seeds)
    held = next((value for row in rows for column, value in row.values.items() if column.metric == of[name]), None)
    if held is None or name not in held.details:
        return held and Value(None, reasons=held.reasons)
    counted = dict.fromkeys(held.by_seed, held.details[name])
    return Value(held.details[name], n=len(counted), by_seed=counted, reasons=held.reasons)


def _verdict(gate: Gate, name: str, section: Section, value: Value | None) -> Verdict:
    missing = f"no concept C{gate.rank or 1}" if value is None and not _known(section, gate) else "no value"
    lost = absence(section, gate.label, value, missing)
    if lost or value is None or value.value is None:
        return Verdict("gate", name, "missed", f"n/a ({lost}), gate {gate.rule} missed", gate.rule)
    found, far = value.value, abs(value.value - gate.bound)
    close = "=" in gate.op and math.isclose(found, gate.bound, rel_tol=CLOSE, abs_tol=CLOSE)
    met = close or OPERATORS[gate.op](found, gate.bound)
    far = 0.0 if met else far
    end = "met" if met else f"missed by {number(far, far)}"
    message = f"{number(found, far)}{spread(value.spread, far)}, gate {gate.rule} {end}"
    return Verdict("gate", name, "met" if met else "missed", message, gate.rule)


def _known(section: Section, gate: Gate) -> bool:
    """Whether the label has the concept, so that it is the score that is missing."""
    return any(row.label == gate.label and row.rank == (gate.rank or 1) for row in section.rows)
