"""`bench`, `score` and `report`: what the command line and a notebook both call."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import UsageError
from xcore.base.files import slug
from xcore.base.process import prepare
from xcore.ci import gates as gate
from xcore.ci.verdict import Verdict
from xcore.contract.options import validate
from xcore.contract.types import Ref
from xcore.registry import Registry, load_registry
from xcore.report.bench_result import BenchResult as BenchResult
from xcore.report.build import build
from xcore.report.picture_paths import check_free, kept_pictures, write_pictures
from xcore.report.pictures import draw
from xcore.report.rows import metric_infos, name_pictures, plan_infos, rows
from xcore.report.shown_before import ShownBefore
from xcore.report.table import MetricInfo, Table
from xcore.report.write import write_all
from xcore.run.about import (
    amend,
    changes,
    environment,
    files_of,
    from_folder,
    load_files,
    open_run,
    read_about,
    refuse_other_files,
)
from xcore.run.amend import JOINED, check_kept, joined, moved_identities, with_metrics
from xcore.run.plan import SUFFIX, Plan, Suite, load_suite, make_plan, refuse_renamed
from xcore.run.plan_record import facts_from_record, plan_from_record
from xcore.run.progress import Reporter
from xcore.run.result import Result
from xcore.run.tracking import followed
from xcore.store.identity import Identity, cell_keys
from xcore.store.records import Damaged, read_record
from xcore.store.run_directory import RunShape, Store, tell_on_stderr

if TYPE_CHECKING:
    from xcore.ci.baseline import Baseline, Comparison
    from xcore.run.loop import Bench

DEFAULT_SUITE, LOCAL = "default", "local"
NONE_ASKED = ("controls", "metrics")
"""Keys of a suite of which an empty list asks for none."""


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
    add_to: str | Path = "",
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
    add_to
        A run to which the methods, classes, seeds and metrics are added, instead of a new one; without any, what is
        not done of it is done.
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
    prepare()
    registry = registry or load_registry([*plugins, *(read_about(Path(add_to))["plugins"] if add_to else ())])
    reporter = reporter or Reporter()
    # What plugins print must not end up between our results.
    with contextlib.redirect_stdout(sys.stderr), reporter:
        if reporter.live:
            reporter.note("reading the request")
        _, plan, path, before = resolved(methods, suite, out, add_to, keys, registry)
        judging = _Judging(plan, registry, keys.get("gates") or (), compare)
        plan = _where_it_can_run(plan, registry, reporter, asked=bool(keys.get("engine")))
        engine = registry.create("engine", plan.engine) if plan.engine else None
        store = Store(path)
        with store.locked(), followed(plan, registry, reporter, path) as following:
            if before is not None:
                _tell_of_changes(before, path, plan, registry, reporter)
            identity = Identity(registry)
            before_this = ShownBefore(path, plan, identity, judging.infos)
            done = None if compare else _again(before_this, plan, judging, following)
            if done is None:
                from xcore.run.loop import Bench  # late: a run that is shown again needs nothing of what runs cells

                loop = Bench(plan, registry, store, following, draw=draw, strict=strict, identity=identity)
                done = _report(loop, loop.run(engine, partial(open_run, loop)), judging)
                with _where_it_may_be_written(store):
                    before_this.keep(done)
            following.table_ready(done.rows)
    return done


def _where_it_can_run(plan: Plan, registry: Registry, reporter: Reporter, *, asked: bool) -> Plan:
    """The plan with an engine that finds all plugins: other processes know none that was added as an object.

    A single cell runs here, too, unless the engine was asked for: other processes would only have to be started.

    Raises
    ------
    UsageError
        The engine was asked for, and there are plugins that it cannot find.
    """
    if plan.engine is None or plan.engine.text == LOCAL:
        return plan
    if not asked and len(plan.cells) == 1:
        return replace(plan, engine=None)
    if not registry.by_hand:
        return plan
    added = f"the plugin{'s' if len(registry.by_hand) > 1 else ''} {', '.join(map(repr, registry.by_hand))}"
    if asked:
        raise UsageError(
            f"the engine {plan.engine} runs cells in other processes, which cannot find {added}: added as an object",
            "put it into a Python file and name that with `plugins`, or leave out the engine",
        )
    reporter.warn(f"cells run in this process, since no other can find {added}, added as an object")
    return replace(plan, engine=None)


def _again(before: ShownBefore, plan: Plan, judging: _Judging, reporter: Reporter) -> BenchResult | None:
    """What a finished run showed, if nothing has changed since; None if its records have to be looked at."""
    start = time.perf_counter()
    done = before.result()
    if done is None:
        return None
    for note in plan.notes:
        reporter.warn(note)
    reporter.begin(len(plan.cells), len(plan.cells))
    done.result.seconds = time.perf_counter() - start
    return replace(done, verdicts=judging.verdicts(done.table, done.broken))


def score(
    run: str | Path,
    metrics: Sequence[str],
    reporter: Reporter | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, str] | None = None,
    gates: Sequence[str] = (),
    compare: Comparison | None = None,
) -> BenchResult:
    """Add metrics to a run: its explanations are scored by them, and none is made again.

    Of metrics that the run has, the scores that are missing are computed.

    Parameters
    ----------
    run
        A directory that `bench` wrote.
    metrics
        References of metrics.
    settings
        Options of these metrics and of their helper models: name -> option -> value.
    models
        Helper models by role, beside those of the run.

    Raises
    ------
    UsageError, MissingError
        Before anything is computed: a metric does not exist or is in the run with other options, or the run was made
        from other files than there are now.
    """
    prepare()
    from xcore.run.loop import Bench, known_identities

    path, reporter = Path(run), reporter or Reporter()
    if not metrics:
        raise UsageError("no metric is named", "name one with --metrics, e.g. --metrics TS; see `xcore list metrics`")
    with contextlib.redirect_stdout(sys.stderr), reporter:
        about = read_about(path)
        registry = load_registry(plugins)
        load_files(about["plugins"], registry, reporter)
        store = Store(path)
        with store.locked(), from_folder(about):
            about = read_about(path)  # as it is now that nobody else works there
            before = plan_from_record(about["plan"])
            plan, wanted = with_metrics(before, metrics, settings or {}, models or {}, registry, path)
            gate.check_labels(gates, (cell.label for cell in plan.cells))
            plan = replace(plan, suite={**plan.suite, "gates": gate.merge(plan.suite.get("gates", []), gates)})
            judging = _Judging(plan, registry, gates, compare)
            kept = known_identities(path, reporter.warn)
            loop = Bench(plan, registry, store, reporter, identities=_to_score(before, plan, kept, store))
            if not loop.groups(()):
                raise UsageError(
                    f"{path} has no finished explanation that its plan refers to",
                    f"make them first with `xcore bench --add-to {path}`",
                )
            now = {**environment(plan, registry), "files": files_of(loop)}
            refuse_other_files(about, now, path)
            if changed := changes(about, now):
                reporter.warn(
                    f"{path} was made with {'; '.join(changed)}; its explanations stay as they are, and the new scores "
                    "are computed with what is installed now"
                )
            result = loop.score(wanted, partial(amend, loop, about, now))
            outcomes = [loop.outcome(cell, cached=True) for cell in plan.cells]
            failures = list(dict.fromkeys([*result.score_failures, *loop.unscored()]))
            return _report(loop, replace(result, outcomes=outcomes, score_failures=failures), judging)


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
    from xcore.run.loop import Bench, known_identities

    path = Path(run)
    about = read_about(path)
    reporter = reporter or Reporter()
    registry = load_registry()
    load_files(about["plugins"], registry, reporter)
    plan = plan_from_record(about["plan"])
    gate.check_labels(gates, (cell.label for cell in plan.cells))
    plan = replace(plan, suite={**plan.suite, "gates": gate.merge(plan.suite.get("gates", []), gates)})
    judging = _Judging(plan, registry, gates, compare)
    known = known_identities(path, reporter.warn)
    loop = Bench(plan, registry, Store(path, reading=True), reporter, identities=known)
    if changed := changes(about, environment(plan, registry)):
        reporter.warn(f"{path} was made with {'; '.join(changed)}; it is shown as it was made")
    with from_folder(about):
        outcomes = [loop.outcome(cell, cached=True) for cell in plan.cells]
        return _report(loop, Result(outcomes, loop.unscored()), judging)


def resolved(
    methods: Sequence[str],
    suite: str,
    out: str | Path,
    add_to: str | Path,
    keys: Mapping[str, Any],
    registry: Registry,
) -> tuple[Suite, Plan, Path, Plan | None]:
    """What a request asks for: the suite, its plan, the run directory, and the plan of the run that is added to.

    Nothing is written. See `bench` for the parameters.

    Raises
    ------
    UsageError, MissingError
        For the first thing that is wrong with the request, or that is in the way in the directory.
    """
    if not add_to:
        wanted = request(methods, suite, keys, registry)
        return wanted, *planned(wanted, out, registry), None
    if out:
        raise UsageError("--out and --add-to both name a run", "leave out --out: what is new goes to the run itself")
    path = Path(add_to)
    about = read_about(path)
    before = plan_from_record(about["plan"])
    given = {key: value for key, value in keys.items() if value not in (None, "", [], {}, ())}
    gates = [*before.suite["gates"]]
    if suite:
        held = load_suite(suite).model_dump(mode="json", exclude_unset=True)
        gates = gate.merge(gates, held.get("gates", []))
        given = {**held, **given}
    given["gates"] = gate.merge(gates, keys.get("gates") or [])
    if methods:
        arms = {arm["label"]: arm for arm in given.get("arms", [])}
        given["methods"] = [m for m in methods if m not in arms]
        given["arms"] = [arms[m] for m in methods if m in arms]
    with from_folder(about):
        wanted = joined(before, given, registry, path)
        gate.check_labels(wanted.gates, wanted.labels)
        plan = make_plan(wanted, registry, before.facts)
        check_kept(before, plan, registry, path)
    check_free(path, plan.cells)
    return wanted, plan, path, before


def request(methods: Sequence[str], suite: str, keys: Mapping[str, Any], registry: Registry | None = None) -> Suite:
    """The suite with the keys that win over it."""
    refuse_renamed(keys, "this request")
    # Nothing given is what the suite says; only controls and metrics can be asked to be none.
    given = {k: v for k, v in keys.items() if v not in (None, "", [], {}, ()) or (k in NONE_ASKED and v == [])}
    base: dict[str, Any] = {}
    if suite or "data" not in given:
        held = load_suite(suite or DEFAULT_SUITE)
        registry = registry or load_registry()
        _check_own_gates(held, registry)
        base = held.model_dump(mode="json")
        if not suite.endswith(SUFFIX):
            base["set"] = _of_installed(held, registry)
    else:
        # The metrics of the default suite are the columns that people expect; everything else of it is the minizoo's.
        held = load_suite(DEFAULT_SUITE)
        base = {"metrics": held.metrics, "prefer": held.prefer}
    _refuse_clashes({**given, "methods": methods}, base.get("prefer", []), registry)
    for key in ("models", "budget"):
        if key in given:
            given[key] = {**base.get(key, {}), **given[key]}
    if "classes" in given:
        given.setdefault("leave_out", {})
    if "set" in given:
        _refuse_bare_options(given["set"])
        names = {*base.get("set", {}), *given["set"]}
        given["set"] = {n: {**base.get("set", {}).get(n, {}), **given["set"].get(n, {})} for n in names}
    if methods:
        arms = {a["label"]: a for a in base.get("arms", [])}
        given["methods"] = [m for m in methods if m not in arms]
        given["arms"] = [*(arms[m] for m in methods if m in arms), *given.get("arms", [])]
    gates = given.get("gates", [])
    given["gates"] = gate.merge(base.get("gates", []), gates)
    wanted = validate(Suite, {**base, **given}, "this request")
    gate.check_labels(gates, wanted.labels)
    return wanted


def _refuse_bare_options(settings: Mapping[str, Any]) -> None:
    """Raise `UsageError` for options as the command line writes them, such as ``{"craft.k": 4}``."""
    for name, options in settings.items():
        if not isinstance(options, Mapping):
            owner, _, option = name.partition(".")
            form = f'set={{"{owner}": {{"{option or "OPTION"}": {options!r}}}}}'
            raise UsageError(
                f"`set` gives {name!r} the value {options!r} instead of a mapping of options", f"write {form}"
            )


def _of_installed(suite: Suite, registry: Registry) -> dict[str, Any]:
    """The settings of a shipped suite for what is installed: CRAFT alone can be compared without RLPO's plugin.

    A suite file of a user is not cut: there a name that nothing has is a mistake.
    """
    names = {name for card in registry.cards() for name in (card.name, card.full_name, *card.roles)}
    names |= {arm.label for arm in suite.arms if arm.method in names}
    return {name: options for name, options in suite.set.items() if name in names}


def planned(wanted: Suite, out: str | Path, registry: Registry) -> tuple[Plan, Path]:
    """The plan of a suite and its run directory, in which nothing is written yet.

    Raises
    ------
    UsageError, MissingError
        For the first thing that is wrong with the suite, or that is in the way in the directory.
    """
    path = Path(out or Path("runs") / slug(wanted.name))
    before = path / "run.json"  # an earlier plan there knows the data set
    known = _facts_of(before)
    plan = make_plan(wanted, registry, known)
    check_free(path, plan.cells)
    return plan, path


def _refuse_clashes(given: Mapping[str, Any], prefer: Sequence[str], registry: Registry | None) -> None:
    """Refuse names that flags give and several plugins offer: what a suite prefers is meant for its own names."""
    asked = [(kind, name) for key, kind in JOINED.items() for name in given.get(key) or ()]
    if asked and prefer:
        registry = registry or load_registry()
        for kind, name in asked:
            if registry.preferred(kind, name, prefer) != name:
                registry.find(kind, name)  # which raises the error that names both


def _check_own_gates(suite: Suite, registry: Registry) -> None:
    """Refuse a gate of a suite on what the whole suite does not compute; flags may choose less than it holds."""
    if not suite.gates:
        return  # its metrics need not be installed: flags may name others
    gate.check_labels(suite.gates, suite.labels)
    metrics = [Ref(registry.preferred("metric", metric, suite.prefer)) for metric in suite.metrics]
    gate.check_metrics(suite.gates, metric_infos(metrics, registry), _offered(registry))


def _offered(registry: Registry) -> dict[str, MetricInfo]:
    """All metrics that are installed."""
    return metric_infos((Ref(card.full_name) for card in registry.cards("metric")), registry)


def _facts_of(run: Path) -> Mapping[str, Any]:
    """What the plan of a run knows of its data set; nothing where there is no run, or its plan is damaged."""
    try:
        return facts_from_record(read_record(run, RunShape)["plan"]) if run.is_file() else {}
    except Damaged as error:
        tell_on_stderr(f"{error.message}; it is written anew")
        return {}


def _to_score(before: Plan, plan: Plan, kept: Mapping[str, str], store: Store) -> dict[str, str]:
    """What a run was identified by, without the scores that are missing: they are computed by the code of now."""
    moved = moved_identities(before, plan, kept)
    cells = {*cell_keys(plan.cells)}
    return {key: name for key, name in moved.items() if key in cells or store.whole_scores(name) is not None}


def _tell_of_changes(before: Plan, path: Path, plan: Plan, registry: Registry, reporter: Reporter) -> None:
    """Warn of what a run was made with that is another now; refuse if another process has amended it meanwhile."""
    about = read_about(path)
    if plan_from_record(about["plan"]) != before:
        raise UsageError(f"another process has changed {path} meanwhile", "run the command again")
    if changed := changes(about, environment(plan, registry)):
        reporter.warn(f"{path} was made with {'; '.join(changed)}; what depends on this is made again")


def _baseline(compare: Comparison, plan: Plan, infos: Mapping[str, MetricInfo]) -> Baseline:
    from xcore.ci.baseline import Baseline  # late: its models are built for those who compare

    return Baseline(compare, plan, infos)


class _Judging:
    """The gates and the baseline of a run, read once and checked before anything is computed."""

    def __init__(self, plan: Plan, registry: Registry, given: Sequence[str], compare: Comparison | None) -> None:
        self.infos = plan_infos(plan, registry)
        gate.check_metrics(given, self.infos, _offered(registry))
        self.gates = [gate.parse(text) for text in plan.suite["gates"]]
        classes = [cls for facts in plan.facts.values() for cls in facts["classes"]]
        gate.check_classes(self.gates, classes)
        gate.check_classes(map(gate.parse, given), [cell.cls for cell in plan.cells])
        self.baseline = _baseline(compare, plan, self.infos) if compare else None

    def verdicts(self, table: Table, broken: str) -> list[Verdict]:
        compared = self.baseline.settle(table, broken) if self.baseline else []
        return [*gate.judge(table, self.gates, self.infos), *compared]


@contextlib.contextmanager
def _where_it_may_be_written(store: Store) -> Iterator[None]:
    """Leave tables, pages and pictures of a run that can only be read as they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        store.tell_once(f"{store.given} cannot be written ({error.strerror}): its files stay as they are")


def _report(loop: Bench, result: Result, judging: _Judging) -> BenchResult:
    from xcore.report.site.run_page import write_page

    made, metrics = rows(loop, result.outcomes, judging.infos)
    records = [loop.store.find(loop.identity(cell)) for cell in loop.plan.cells]
    written: list[list[list[Path]]] = []
    with _where_it_may_be_written(loop.store):
        written.append(write_pictures(loop.store.given, loop.plan.cells, records))
    pictures = written[0] if written else kept_pictures(loop.store.given, loop.plan.cells, records)
    name_pictures(made, loop.plan.cells, pictures, loop.store.given)
    table = build(made, metrics, header={"run": str(loop.store.given)}, notes=loop.plan.notes)
    with _where_it_may_be_written(loop.store):
        write_all(table, loop.store.given)
    every = [path for own in pictures for path in own]
    done = BenchResult(table, made, loop.store.given, result, suite=loop.plan.name, pictures=every)
    verdicts = judging.verdicts(table, done.broken)
    with _where_it_may_be_written(loop.store):
        write_page(loop, result.outcomes, table, made, [verdict.text for verdict in verdicts])
    return replace(done, verdicts=verdicts)
