"""Baselines: the values of a table in a committed file, and which of them became worse since.

Kept are the values that a table shows to people: whole explanations, and the first concepts of each method. Seconds and
memory speak of the machine, so they are kept and compared only if a tolerance is given for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from xcore.base.errors import UsageError
from xcore.base.files import read_json, write_text
from xcore.ci.gates import CLOSE, SECONDS, details, whole_value
from xcore.ci.tolerance import tolerances
from xcore.ci.verdict import Verdict, absence, number, place, spread
from xcore.contract.options import Options, validate
from xcore.report.table import MetricInfo, Row, Section, Table, Value
from xcore.run.plan import Plan
from xcore.store.environment import differences, numerics

SCHEMA = 1
SETTINGS = ("data", "contrast", "generator", "layer", "classifiers", "seeds", "data_seed", "models", "budget", "set")
"""Keys of a suite that values depend on and that all cells share; methods, classes and metrics are rows and columns."""
CHOSEN = {"split": "explain", "group": ""}
"""Keys that say which samples are explained -> what they usually are: baselines do not hold the usual value."""
DRAWS = "data_seed"
"""The one among them that stands for several, if it is None: the data are drawn with each of the seeds."""


class Entry(Options):
    """A value of the table."""

    data: str
    classifier: str
    cls: str = Field(alias="class")
    label: str
    rank: int | None
    """None = the whole explanation."""
    metric: str
    variant: str
    direction: str
    value: float = Field(allow_inf_nan=False)
    spread: float | None = Field(allow_inf_nan=False)
    over: str
    n: int
    seeds: int
    """How many seeds have a value."""

    @property
    def key(self) -> tuple[object, ...]:
        """What it is the value of."""
        return self.data, self.classifier, self.cls, self.label, self.rank, self.metric, self.variant


class BaselineFile(Options):
    """The keys of a baseline file."""

    format: int = Field(alias="schema")
    suite: str
    settings: dict[str, Any]
    methods: dict[str, Any]
    versions: dict[str, str]
    values: list[Entry]


@dataclass(frozen=True)
class Comparison:
    """What to do with a baseline.

    Parameters
    ----------
    file
        The baseline.
    update
        Write the file from this run instead of comparing.
    fail
        A regression fails the run (exit code 1); without it, it is only told.
    tolerance
        ``0.05``, ``5%``, ``2se`` or several, comma-separated: the largest counts. ``METRIC=...`` is for one metric.
        What is stated replaces `xcore.ci.tolerance.DEFAULT` as a whole.
    """

    file: Path
    update: bool = False
    fail: bool = False
    tolerance: Sequence[str] = ()


class Baseline:
    """A baseline opened for one plan: everything that can be wrong with it is found before anything is computed.

    Raises
    ------
    UsageError
        If there is no such file, it is damaged or made with other settings, or a tolerance is wrong.
    """

    def __init__(self, asked: Comparison, plan: Plan, metrics: Mapping[str, MetricInfo]) -> None:
        self.asked, self.plan = asked, plan
        if asked.update and asked.fail:
            raise UsageError("--update-baseline and --fail-on-regression cannot be combined", "use one of them")
        self.details = details(metrics)
        compared = [name for name, info in metrics.items() if info.column]
        self.tolerances = tolerances(asked.tolerance, [*compared, SECONDS, *self.details])
        self.timed = [name for name in (SECONDS, *self.details) if name in self.tolerances]
        self.entries: list[Entry] = []
        self.versions: Mapping[str, str] = {}
        if not asked.update:
            self._read()

    def _read(self) -> None:
        path = self.asked.file
        if not path.is_file():
            raise UsageError(f"there is no baseline file {str(path)!r}", "write it with --update-baseline")
        held = validate(BaselineFile, read_json(path), f"baseline {path}")
        if held.format != SCHEMA:
            hint = "write it again with --update-baseline"
            raise UsageError(f"baseline {path} has schema {held.format}, this xcore reads {SCHEMA}", hint)
        now = json.loads(json.dumps(_settings(self.plan)))
        for what, old, new in _pairs(held.settings, now["settings"], held.methods, now["methods"]):
            if old != new:
                text = f"baseline {path} was made with {what} {old!r}, this run has {new!r}"
                raise UsageError(text, "run the same suite, or write another baseline with --update-baseline")
        self.entries, self.versions = held.values, held.versions
        for name in self.timed:
            if not any(e.metric == name for e in self.entries):
                hint = f"write it with --update-baseline --tolerance {name}=..."
                raise UsageError(f"baseline {path} holds no {name}", hint)

    def settle(self, table: Table, broken: str = "") -> list[Verdict]:
        """Write or compare; a run of which something failed (`broken` says what) writes no baseline."""
        if not self.asked.update:
            return self._compare(table)
        name = str(self.asked.file)
        if broken:
            return [Verdict("baseline", name, "missed", f"not written: {broken}")]
        entries = [entry for _, _, entry in _entries(table, self.timed, self.details)]
        about = {"schema": SCHEMA, "suite": self.plan.name, **_settings(self.plan)}
        head = json.dumps({**about, "versions": numerics(0)["versions"]}, indent=1, ensure_ascii=False)
        lines = ",\n".join(f"  {json.dumps(e.model_dump(by_alias=True), ensure_ascii=False)}" for e in entries)
        self.asked.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.asked.file, f'{head[:-2]},\n "values": [\n{lines}\n ]\n}}\n')
        return [Verdict("baseline", name, "noted", f"written, {len(entries)} values")]

    # -- comparing ---------------------------------------------------------------------------------------------------
    def _compare(self, table: Table) -> list[Verdict]:
        found = {
            entry.key: (section, value, entry) for section, value, entry in _entries(table, self.timed, self.details)
        }
        verdicts = []
        for old in self.entries:
            if old.metric in (SECONDS, *self.details) and old.metric not in self.timed:
                continue
            if now := found.pop(old.key, None):
                verdicts.append(self._change(_name(table, now[0], old), old, now[2], now[0], now[1]))
            else:
                verdicts.append(_vanished(table, old))
        fresh: dict[str, int] = {}
        for section, _, entry in found.values():
            name = f"{entry.label} on {place(table, section)}"
            fresh[name] = fresh.get(name, 0) + 1
        for name, count in fresh.items():
            verdicts.append(Verdict("baseline", name, "noted", f"{count} new value(s); --update-baseline keeps them"))
        if any(v.status == "missed" for v in verdicts):
            other = differences({"versions": self.versions}, {"versions": numerics(0)["versions"]})
            if other:
                verdicts.append(
                    Verdict("baseline", str(self.asked.file), "noted", f"made with other {'; '.join(other)}")
                )
        return [replace(v, excused=not self.asked.fail) for v in verdicts]

    def _change(self, name: str, old: Entry, new: Entry, at: Section, value: Value) -> Verdict:
        rule = self.tolerances.get(old.metric) or self.tolerances[""]
        tolerance, why = rule.amount(old.value, old.spread, old.over, old.n)
        if new.seeds < old.seeds:
            lost = absence(at, old.label, value, "no value")
            return Verdict("baseline", name, "missed", f"{new.seeds} of {old.seeds} seeds have a value ({lost})")
        if new.direction != old.direction:
            better = f"better was {old.direction!r}, and is {new.direction!r}"
            return Verdict("baseline", name, "missed", f"the metric changed: {better}; --update-baseline accepts it")
        change = new.value - old.value
        worse = {"higher": -change, "lower": change}.get(new.direction, abs(change))
        # 0.96 - 0.94 is no more than 0.02
        beyond = abs(change) > tolerance and not math.isclose(abs(change), tolerance, rel_tol=CLOSE)
        far = change if beyond else 0.0
        was = f"baseline {number(old.value, far)}{spread(old.spread, far)}"
        message = f"{number(new.value, far)}{spread(new.spread, far)}, {was}"
        size = number(abs(far), far)
        if beyond and worse > 0:
            how = "worse" if new.direction in ("higher", "lower") else "changed"
            limit = f"tolerance {number(tolerance, tolerance)} ({why})"
            return Verdict("baseline", name, "missed", f"{message}: {how} by {size}, {limit}")
        if beyond:
            return Verdict("baseline", name, "better", f"{message}: better by {size}; --update-baseline keeps it")
        return Verdict("baseline", name, "met", message)


def _entries(table: Table, timed: Iterable[str], of: Mapping[str, str]) -> Iterable[tuple[Section, Value, Entry]]:
    """The values that a baseline keeps, in the order of the table."""
    hidden = {metric for metric, info in table.metrics.items() if not info.column}
    for section in table.sections:
        whole = {c.metric for c in section.columns if c.whole}
        made = [row for row in section.rows if row.status == "ok"]
        for row in made:
            if row.rank is None or row.rank <= table.top:
                for column, value in row.values.items():
                    # As in the table for people: where a metric judges whole explanations, that is what counts.
                    if column.metric not in hidden and column.whole == (column.metric in whole):
                        rank = None if column.whole else row.rank
                        about = (row, rank, column.metric, column.variant, column.direction)
                        yield from _entry(section, value, *about)
        for label in dict.fromkeys(row.label for row in made):
            same = [row for row in made if row.label == label]
            for name in timed:
                direction = table.metrics[of[name]].direction if name in of else "lower"
                yield from _entry(section, whole_value(same, name, of), same[0], None, name, "", direction)


def _entry(
    at: Section, value: Value | None, row: Row, rank: int | None, metric: str, variant: str, direction: str
) -> Iterable[tuple[Section, Value, Entry]]:
    if value is not None and value.value is not None:
        what = {"data": at.data, "classifier": at.classifier, "class": at.cls, "label": row.label, "rank": rank}
        said = {"value": value.value, "spread": value.spread, "over": value.over, "n": value.n}
        seeds = len(value.by_seed)
        names = {"metric": metric, "variant": variant, "direction": direction}
        yield at, value, Entry.model_validate({**what, **names, **said, "seeds": seeds})


def _name(table: Table, section: Section | None, entry: Entry) -> str:
    """As gates are written: ``craft.TS[C2] on zebra``."""
    rank = f"[C{entry.rank}]" if entry.rank else ""
    variant = f"[{entry.variant}]" if entry.variant else ""
    where = place(table, section) if section else f"{entry.cls} ({entry.classifier})"
    return f"{entry.label}.{entry.metric}{variant}{rank} on {where}"


def _vanished(table: Table, old: Entry) -> Verdict:
    wanted = (old.data, old.classifier, old.cls)
    section = next((s for s in table.sections if (s.data, s.classifier, s.cls) == wanted), None)
    value, reason = None, "not part of this run"
    same_label = [row for row in section.rows if row.label == old.label] if section else []
    if section and same_label:
        rows = [row for row in same_label if old.rank in (None, row.rank)]
        none = f"no concept C{old.rank}" if not rows else "no value of this variant"
        value = next((v for r in rows for c, v in r.values.items() if c.metric == old.metric and v.value is None), None)
        reason = absence(section, old.label, value, none)
    was = number(old.value, 0.0)
    return Verdict("baseline", _name(table, section, old), "missed", f"vanished, baseline {was}: {reason}")


def _settings(plan: Plan) -> dict[str, Any]:
    """What the values of a plan depend on, on any machine."""
    methods = {c.label: {"method": c.method.text, "options": dict(c.method.options)} for c in plan.cells}
    chosen = {key: plan.suite[key] for key, usual in CHOSEN.items() if plan.suite.get(key, usual) != usual}
    return {"settings": {**{key: plan.suite[key] for key in SETTINGS}, **chosen}, "methods": methods}


def _draws(settings: Mapping[str, Any]) -> list[int]:
    """The seeds that the data are drawn with, one for each seed."""
    given = settings.get(DRAWS)
    return [seed if given is None else given for seed in settings.get("seeds", [])]


def _pairs(
    old: Mapping[str, Any], new: Mapping[str, Any], old_methods: Mapping[str, Any], new_methods: Mapping[str, Any]
) -> Iterable[tuple[str, Any, Any]]:
    """What has to be the same, with both values: settings, and the methods that both have."""
    for key in (*SETTINGS, *CHOSEN):
        a, b = (_draws(given) if key == DRAWS else given.get(key, CHOSEN.get(key)) for given in (old, new))
        if isinstance(a, dict) and isinstance(b, dict):
            yield from ((f"{key}.{k}", a.get(k), b.get(k)) for k in sorted({*a, *b}))
        else:
            yield key, a, b
    for label in old_methods.keys() & new_methods.keys():
        yield f"method {label!r}", old_methods[label], new_methods[label]
