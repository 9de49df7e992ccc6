"""The front room: what the command line and a notebook both call."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import gate
from xcore.baseline import Baseline, Comparison
from xcore.bench import IDENTITIES, Bench, Result
from xcore.errors import MissingError, UsageError
from xcore.machine import record
from xcore.marked import explained
from xcore.plan import Plan, Suite, load_suite, make_plan
from xcore.progress import Reporter
from xcore.registry import Registry, load_registry
from xcore.report import Table, Verdict, build, write_all
from xcore.report.write import render
from xcore.rows import Row, rows
from xcore.store import SCHEMA, Store, read_json, slug, write_json
from xcore.types import Explanation, Ref, Samples

if TYPE_CHECKING:
    import torch

DEFAULT_SUITE = "default"


@dataclass(frozen=True, eq=False)
class BenchResult:
    """A finished run: its table, rows and directory. A notebook shows the table."""

    table: Table
    rows: list[Row]
    path: Path
    result: Result
    verdicts: list[Verdict] = field(default_factory=list)
    """What gates and a baseline say, if there are any."""
    suite: str = ""

    @property
    def broken(self) -> str:
        """What failed, in words; empty if nothing did."""
        cells, scores = self.result.count("failed"), len(self.result.score_failures)
        return f"{cells} cell(s) failed, {scores} score(s) failed" if cells or scores else ""

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
        Compute anew what was made with other numerics (versions of torch and friends, threads).
    compare
        A baseline to compare the table with, or to write.
    **keys
        The keys of a suite file (see `xcore.plan.Suite`), which win over it: data, classifiers, classes, seeds, ...;
        `gates` are judged beside those of the suite.

    Returns
    -------
    BenchResult

    Raises
    ------
    UsageError, MissingError
        Before anything runs, for the first thing that is wrong with the request.
    """
    registry = registry or load_registry(plugins)
    wanted = request(methods, suite, keys)
    path = Path(out or Path("runs") / slug(wanted.name))
    reporter = reporter or Reporter()
    with contextlib.redirect_stdout(sys.stderr):  # what plugins print must not end up between our results
        plan = make_plan(wanted, registry, _known(path))
        judging = _Judging(plan, keys.get("gates") or (), compare)
        store = Store(path)
        with store.locked(), reporter:
            _open_run(plan, registry, store)
            loop = Bench(plan, registry, store, reporter, strict)
            result = loop.run(registry.create("engine", Ref(wanted.engine)) if wanted.engine else None)
    return _report(loop, result, judging)


def report(
    run: str | Path,
    reporter: Reporter | None = None,
    *,
    gates: Sequence[str] = (),
    compare: Comparison | None = None,
) -> BenchResult:
    """Rebuild the tables of a run from its records, and judge them again, without running anything."""
    path = Path(run)
    if not (path / "run.json").is_file():
        raise UsageError(f"{path} is no run directory", "it has no run.json")
    from xcore.options import validate

    about = read_json(path / "run.json", ("plugins", "plan"))
    registry = load_registry([p for p in about["plugins"] if Path(p).is_file()])
    suite = validate(Suite, about["plan"].get("suite", {}), str(path / "run.json"))
    gate.check(gates, suite.labels, suite.metrics)
    suite = suite.model_copy(update={"gates": gate.merge(suite.gates, gates)})
    known = read_json(path / IDENTITIES) if (path / IDENTITIES).is_file() else {}
    try:
        plan = make_plan(suite, registry, _known(path), as_made=True)
        judging = _Judging(plan, gates, compare)
        loop = Bench(plan, registry, Store(path), reporter or Reporter(), identities=known)
        outcomes = [loop.outcome(cell, cached=True) for cell in plan.cells]
        return _report(loop, Result(outcomes, loop.unscored()), judging)
    except (UsageError, MissingError) as error:  # relative paths may lead nowhere from here
        if error.hint or not (began := about.get("folder")) or Path(began) == Path.cwd():
            raise
        raise type(error)(error.message, f"run it in {began}, where the run was started") from error


def explain(
    method: str,
    classifier: torch.nn.Module | Any,
    samples: torch.Tensor | Samples | Sequence[str],
    *,
    target: str | int,
    class_names: Sequence[str] = (),
    contrast: torch.Tensor | Samples | Sequence[str] | None = None,
    layer: str = "",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    generator: Any = None,
    models: Mapping[str, Any] | None = None,
    vocabulary: Sequence[str] = (),
    workdir: str | Path = "",
    registry: Registry | None = None,
) -> Explanation:
    """Explain one class of a live model with one method.

    Parameters
    ----------
    method
        Name of an explainer.
    classifier
        A `torch.nn.Module` that maps (n, 3, H, W) in [0, 1] to logits, or anything that fulfils `Classifier`.
    samples
        Images (n, 3, H, W) in [0, 1] of the class, texts, or `Samples`.
    target
        Class name or index.
    class_names
        The names of the module's outputs, in order.
    contrast
        Images or texts of other classes, for methods that compare with random sets.
    layer
        A name in `named_modules()`; "" = the classifier's own default.
    options
        Options of the method, as on `xcore show METHOD`.
    generator, models, vocabulary
        For methods that draw or ask: a generator, helper models by role, phrases to try (of texts, their own words).
        A generator or a model is an object, or the reference that the command line takes: ``"blip-decoder:DIR"``.
    workdir
        Where `Explanation.files` are written; "" = a new temporary folder, which is left for the caller.

    Returns
    -------
    Explanation

    Raises
    ------
    UsageError, MissingError
        For what is wrong with the request, or missing from it.
    NotApplicable
        If the method cannot explain this classifier.
    """
    from xcore.guard import seeded
    from xcore.live import component, helpers, live_task

    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"the seed is {seed!r}", "pass a whole number from 0 to 2**32 - 1")
    registry = registry or load_registry()
    ref = Ref(method, dict(options or {}))
    explainer = registry.create("explainer", ref)
    task = live_task(
        classifier,
        samples,
        target,
        class_names,
        contrast=contrast,
        layer=layer,
        seed=seed,
        generator=component(registry, "generator", generator),
        models=helpers(registry, ref, models or {}),
        vocabulary=vocabulary,
        workdir=Path(workdir or tempfile.mkdtemp(prefix="xcore-")),
        store=Path(tempfile.gettempdir()) / "xcore-artifacts",
    )
    with seeded(seed):
        made: Explanation = explainer.explain(task)
    return replace(made, explained=explained(task))


def request(methods: Sequence[str], suite: str, keys: Mapping[str, Any]) -> Suite:
    """The suite with the keys that win over it."""
    from xcore.options import validate

    # Nothing given is what the suite says; only baselines can be asked to be none.
    given = {k: v for k, v in keys.items() if v not in (None, "", [], {}, ()) or (k == "baselines" and v == [])}
    base: dict[str, Any] = {}
    if suite or "data" not in given:
        held = load_suite(suite or DEFAULT_SUITE)
        gate.check(held.gates, held.labels, held.metrics)
        base = held.model_dump(mode="json")
    else:
        # The metrics of the default suite are the columns that people expect; everything else of it is the minizoo's.
        base = {"metrics": load_suite(DEFAULT_SUITE).metrics}
    for key in ("models", "budget"):
        if key in given:
            given[key] = {**base.get(key, {}), **given[key]}
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
    gate.check(gates, wanted.labels, wanted.metrics)
    return wanted


def _open_run(plan: Plan, registry: Registry, store: Store) -> None:
    """Write run.json."""
    now = record(plan.threads, [c.distribution for c in registry.cards()])
    about = {"schema": SCHEMA, "plan": plan.as_plain(), "plugins": registry.files, "folder": str(Path.cwd())}
    about |= {"written": time.time(), **now}
    write_json(store.root / "run.json", about)


def _known(run: Path) -> dict[str, Any]:
    """What an earlier plan in this directory knew of data sets."""
    path = run / "run.json"
    facts: dict[str, Any] = read_json(path, ("plan",))["plan"].get("facts", {}) if path.is_file() else {}
    return facts


class _Judging:
    """The gates and the baseline of a run, checked before anything is computed."""

    def __init__(self, plan: Plan, given: Sequence[str], compare: Comparison | None) -> None:
        self.gates = [gate.parse(text) for text in plan.suite["gates"]]
        classes = [cls for facts in plan.facts.values() for cls in facts["classes"]]
        gate.check_classes(self.gates, classes)
        gate.check_classes(map(gate.parse, given), [cell.cls for cell in plan.cells])
        self.baseline = Baseline(compare, plan) if compare else None
        self.metrics = [metric.text for metric in plan.metrics]

    def verdicts(self, table: Table, broken: str) -> list[Verdict]:
        compared = self.baseline.settle(table, broken) if self.baseline else []
        return [*gate.judge(table, self.gates, self.metrics), *compared]


def _report(loop: Bench, result: Result, judging: _Judging) -> BenchResult:
    made, columns = rows(loop, result.outcomes)
    table = build(made, columns, header={"run": str(loop.store.root)})
    write_all(table, loop.store.root)
    done = BenchResult(table, made, loop.store.root, result, suite=loop.plan.name)
    return replace(done, verdicts=judging.verdicts(table, done.broken))


__all__ = ["BenchResult", "Comparison", "bench", "explain", "load_registry", "report"]
