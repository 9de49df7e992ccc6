"""`bench` and `report`: what the command line and a notebook both call."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import MissingError, UsageError, XcoreError
from xcore.base.files import read_json, slug, write_json
from xcore.base.threads import let_waiting_threads_sleep
from xcore.ci import gates as gate
from xcore.ci.baseline import Baseline, Comparison
from xcore.ci.verdict import Verdict
from xcore.contract.options import validate
from xcore.contract.types import Ref
from xcore.registry import Registry, load_registry
from xcore.report import MetricInfo, Table, build, draw, render, to_pandas, write_all
from xcore.report.notebook import table_html
from xcore.report.picture_paths import check_free, write_pictures
from xcore.report.rows import ResultRow, metric_infos, name_pictures, plan_infos, rows
from xcore.run.loop import IDENTITIES, Bench, Result
from xcore.run.plan import Plan, Suite, load_suite, make_plan, plan_from_record, refuse_renamed
from xcore.run.progress import Reporter
from xcore.store.environment import differences, record
from xcore.store.identity import codes
from xcore.store.run_directory import SCHEMA, Store

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

DEFAULT_SUITE = "default"
NONE_ASKED = ("controls", "metrics")
"""Keys of a suite of which an empty list asks for none."""


@dataclass(frozen=True, eq=False, repr=False)
class BenchResult:
    """A finished run: its table, rows, directory and verdicts. A notebook shows the table."""

    table: Table
    rows: list[ResultRow]
    path: Path
    result: Result
    verdicts: list[Verdict] = field(default_factory=list)
    """One verdict for each gate and for each value that is compared with a baseline; empty if there are none."""
    suite: str = ""
    """The name of the suite."""
    pictures: list[Path] = field(default_factory=list)
    """The pictures of all explanations, by paths that a person can read; the rows say which are whose."""

    @property
    def broken(self) -> str:
        """How many cells and scores failed, as a sentence; empty if none did."""
        cells, scores = self.result.count("failed"), len(self.result.score_failures)
        return f"{cells} cell(s) failed, {scores} score(s) failed" if cells or scores else ""

    def to_pandas(self) -> pd.DataFrame:
        """The table as a long frame: one row for each section, row of the table and metric.

        It has every concept, in full precision, and the columns of ``table.csv``. A failed or skipped cell, or an
        explanation without concepts, is one row without a metric.

        Returns
        -------
        pandas.DataFrame
            ``data``, ``classifier``, ``class``: the section. ``method``, ``label``, ``status``, ``reason``, ``seeds``:
            the row, and why a value is missing. ``rank`` (1 = most important), ``concept`` (its most frequent name),
            ``named_in_seeds`` (how many seeds gave this name), ``words``: the concept. ``metric``, ``variant``,
            ``direction`` ("higher" or "lower" is better, or "none"), ``whole_explanation``: the metric. ``value`` (mean
            over seeds), ``spread``, ``over``, ``n`` (what the spread is taken over, and how many), ``null_mean``,
            ``outside_null_seeds``, ``lowers_class_seeds`` (in how many of these the concept lowers the class),
            ``chance``: the value, in the unit of its metric. ``seconds``: what the explanation took, on the rows of the
            first concept of a method; ``shared_seconds``: its share of what explanations of the method have in common.
            Dtypes: string, Int64, boolean and float64.
        """
        return to_pandas(self.table)

    def __repr__(self) -> str:
        """One line: the rows of a run may fill pages."""
        sections = self.table.sections
        classes = len({section.cls for section in sections})
        methods = len({row.label for section in sections for row in section.rows})
        done = len(self.result.outcomes) - self.result.count("failed") - self.result.count("skipped")
        of = f"{methods} method{'' if methods == 1 else 's'}, {classes} class{'' if classes == 1 else 'es'}"
        said = f"{of}, {done} of {len(self.result.outcomes)} cells done"
        return f"<bench {self.suite!r}: {said}, in {self.path}>"

    def _repr_html_(self) -> str:
        return table_html(self.table)

    def _repr_markdown_(self) -> str:
        return render(self.table, "md")


def bench(
    methods: Sequence[str] = (),
    *,
    suite: str = "",
    out: str | Path = "",
    plugins: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
    registry: Registry | None = None,
    strict: bool = False,
    compare: Comparison | None = None,
    **keys: Any,
) -> BenchResult:
    """Compare methods: run what is not finished yet, score it, and return the table.

    Parameters
    ----------
    methods
        Names of explainers; none = those of the suite.
    suite
        Name or file of a suite; "" = the default suite, unless `data` is given.
    out
        Run directory; "" = ``runs/<suite>``.
    plugins
        Python files with plugins.
    strict
        Recompute results that were made with other library versions, thread counts or devices.
    compare
        A baseline to compare the table with, or to write.
    **keys
        The keys of a suite file (see `xcore.run.plan.Suite`), which win over it: data, classifiers, classes, seeds;
        `gates` are judged beside those of the suite. ``metrics=[]`` and ``controls=[]`` ask for none.

    Returns
    -------
    BenchResult

    Raises
    ------
    UsageError, MissingError
        Before anything runs, for the first thing that is wrong with the request.
    """
    let_waiting_threads_sleep()
    registry = registry or load_registry(plugins)
    wanted = request(methods, suite, keys, registry)
    reporter = reporter or Reporter()
    # What plugins print must not end up between our results.
    with contextlib.redirect_stdout(sys.stderr), reporter:
        if reporter.live:
            reporter.note("reading the request")
        plan, path = planned(wanted, out, registry)
        judging = _Judging(plan, registry, keys.get("gates") or (), compare)
        engine = registry.create("engine", plan.engine) if plan.engine else None
        store = Store(path)
        with store.locked():
            loop = Bench(plan, registry, store, reporter, draw=draw, strict=strict)
            result = loop.run(engine, partial(_open_run, plan, registry, store))
    return _report(loop, result, judging)


def report(
    run: str | Path,
    reporter: Reporter | None = None,
    *,
    gates: Sequence[str] = (),
    compare: Comparison | None = None,
) -> BenchResult:
    """Rebuild the tables of a run from its records, and judge them again, without running anything.

    The run is shown as it was made: what was installed or edited since changes nothing in it, and is named.
    """
    path = Path(run)
    if not (path / "run.json").is_file():
        raise UsageError(f"{path} is not a run directory: it has no run.json", "name a folder that `xcore bench` wrote")
    about = read_json(path / "run.json", ("plugins", "plan"))
    reporter = reporter or Reporter()
    registry = load_registry()
    for file in about["plugins"]:
        try:
            registry.load_file(Path(file))
        except UsageError as error:  # the run is shown all the same
            reporter.warn(str(error))
    plan = plan_from_record(about["plan"])
    gate.check_labels(gates, (cell.label for cell in plan.cells))
    plan = replace(plan, suite={**plan.suite, "gates": gate.merge(plan.suite.get("gates", []), gates)})
    judging = _Judging(plan, registry, gates, compare)
    known = read_json(path / IDENTITIES) if (path / IDENTITIES).is_file() else {}
    if changed := _changes(about, _environment(plan, registry)):
        reporter.warn(f"{path} was made with {'; '.join(changed)}; it is shown as it was made")
    loop = Bench(plan, registry, Store(path), reporter, identities=known)
    try:
        outcomes = [loop.outcome(cell, cached=True) for cell in plan.cells]
        return _report(loop, Result(outcomes, loop.unscored()), judging)
    except (UsageError, MissingError) as error:  # without kept identities, relative paths may lead nowhere from here
        if error.hint or not (began := about.get("folder")) or Path(began) == Path.cwd():
            raise
        raise type(error)(error.message, f"run it in {began}, where the run was started") from error


def request(methods: Sequence[str], suite: str, keys: Mapping[str, Any], registry: Registry | None = None) -> Suite:
    """The suite with the keys that win over it."""
    refuse_renamed(keys, "this request")
    # Nothing given is what the suite says; only controls and metrics can be asked to be none.
    given = {k: v for k, v in keys.items() if v not in (None, "", [], {}, ()) or (k in NONE_ASKED and v == [])}
    base: dict[str, Any] = {}
    if suite or "data" not in given:
        held = load_suite(suite or DEFAULT_SUITE)
        _check_own_gates(held, registry or load_registry())
        base = held.model_dump(mode="json")
    else:
        # The metrics of the default suite are the columns that people expect; everything else of it is the minizoo's.
        base = {"metrics": load_suite(DEFAULT_SUITE).metrics}
    for key in ("models", "budget"):
        if key in given:
            given[key] = {**base.get(key, {}), **given[key]}
    if "classes" in given:
        given.setdefault("leave_out", {})
    if "set" in given:
        names = {*base.get("set", {}), *given["set"]}
        given["set"] = {n: {**base.get("set", {}).get(n, {}), **given["set"].get(n, {})} for n in names}
    if methods:
        arms = {a["label"]: a for a in base.get("arms", [])}
        given["methods"] = [m for m in methods if m not in arms]
        given["arms"] = [arms[m] for m in methods if m in arms]
    gates = given.get("gates", [])
    given["gates"] = gate.merge(base.get("gates", []), gates)
    wanted = validate(Suite, {**base, **given}, "this request")
    gate.check_labels(gates, wanted.labels)
    return wanted


def planned(wanted: Suite, out: str | Path, registry: Registry) -> tuple[Plan, Path]:
    """The plan of a suite and its run directory, in which nothing is written yet.

    Raises
    ------
    UsageError, MissingError
        For the first thing that is wrong with the suite, or that is in the way in the directory.
    """
    path = Path(out or Path("runs") / slug(wanted.name))
    before = path / "run.json"  # an earlier plan there knows the data set
    known = read_json(before, ("plan",))["plan"].get("facts", {}) if before.is_file() else {}
    plan = make_plan(wanted, registry, known)
    check_free(path, plan.cells)
    return plan, path


def _check_own_gates(suite: Suite, registry: Registry) -> None:
    """Refuse a gate of a suite on what the whole suite does not compute; flags may choose less than it holds."""
    gate.check_labels(suite.gates, suite.labels)
    gate.check_metrics(suite.gates, metric_infos(map(Ref, suite.metrics), registry), _offered(registry))


def _offered(registry: Registry) -> dict[str, MetricInfo]:
    """All metrics that are installed."""
    return metric_infos((Ref(card.full_name) for card in registry.cards("metric")), registry)


def _open_run(plan: Plan, registry: Registry, store: Store) -> None:
    """Write run.json."""
    about = {"schema": SCHEMA, "plan": plan.as_plain(), "plugins": registry.files, "folder": str(Path.cwd())}
    write_json(store.root / "run.json", about | {"written": time.time(), **_environment(plan, registry)})


def _environment(plan: Plan, registry: Registry) -> dict[str, Any]:
    """Versions, machine and code that a plan is run with now."""
    distributions = [card.distribution for card in registry.cards()]
    return {**record(plan.threads, distributions), "code": codes(registry, _used(plan, registry))}


def _used(plan: Plan, registry: Registry) -> set[str]:
    """Distributions of the components of a plan, as far as they are installed."""
    refs = {("metric", metric) for metric in map(str, plan.metrics)}
    for cell in plan.cells:
        refs |= {("explainer", str(cell.method)), ("classifier", str(cell.classifier)), ("dataset", str(cell.data))}
        refs |= {("model", str(model)) for model in cell.models.values()}
        refs |= {(kind, str(ref)) for kind, ref in (("generator", cell.generator), ("dataset", cell.contrast)) if ref}
    found = set()
    for kind, ref in refs:
        with contextlib.suppress(XcoreError):  # gone since
            found.add(registry.find(kind, ref)[0].distribution)
    return found


def _changes(about: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what the versions and the code that made a run differ from those of now."""
    then = {"versions": about.get("numerics", {}).get("versions", {})}
    changed = differences(then, {"versions": now["numerics"]["versions"]})
    old, new = about.get("distributions", {}), now["distributions"]
    for name, code in about.get("code", {}).items():  # of what the run used; older runs do not say
        if name not in now["code"]:
            changed.append(f"{name}, which is not installed now")
        elif old.get(name) != new.get(name):
            changed.append(f"{name} {old[name]} instead of {new[name]}")
        elif code != now["code"][name]:
            changed.append(f"other code of {name}")
    return changed


class _Judging:
    """The gates and the baseline of a run, read once and checked before anything is computed."""

    def __init__(self, plan: Plan, registry: Registry, given: Sequence[str], compare: Comparison | None) -> None:
        self.infos = plan_infos(plan, registry)
        gate.check_metrics(given, self.infos, _offered(registry))
        self.gates = [gate.parse(text) for text in plan.suite["gates"]]
        classes = [cls for facts in plan.facts.values() for cls in facts["classes"]]
        gate.check_classes(self.gates, classes)
        gate.check_classes(map(gate.parse, given), [cell.cls for cell in plan.cells])
        self.baseline = Baseline(compare, plan, self.infos) if compare else None

    def verdicts(self, table: Table, broken: str) -> list[Verdict]:
        compared = self.baseline.settle(table, broken) if self.baseline else []
        return [*gate.judge(table, self.gates, self.infos), *compared]


def _report(loop: Bench, result: Result, judging: _Judging) -> BenchResult:
    made, metrics = rows(loop, result.outcomes, judging.infos)
    records = [loop.store.find(loop.identity(cell)) for cell in loop.plan.cells]
    pictures = write_pictures(loop.store.root, loop.plan.cells, records)
    name_pictures(made, loop.plan.cells, pictures, loop.store.root)
    table = build(made, metrics, header={"run": str(loop.store.root)}, notes=loop.plan.notes)
    write_all(table, loop.store.root)
    every = [path for own in pictures for path in own]
    done = BenchResult(table, made, loop.store.root, result, suite=loop.plan.name, pictures=every)
    return replace(done, verdicts=judging.verdicts(table, done.broken))
