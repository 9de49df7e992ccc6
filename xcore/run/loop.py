"""The loop: plan -> engine -> cells -> records -> scores. A cell that fails never harms its neighbours."""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from xcore.base.digests import digest
from xcore.base.errors import MissingError, NotApplicable, XcoreError
from xcore.base.files import read_json, write_json
from xcore.base.memory import out_of_memory, peak_mb
from xcore.base.seeding import seeded
from xcore.contract.protocols import Engine, Metric, Run
from xcore.contract.samples import Samples
from xcore.contract.types import Cell, Explanation, Outcome, Ref, Score
from xcore.registry import Registry
from xcore.run.checks import check_target, checked, checked_scores, not_applicable
from xcore.run.engines import InProcess
from xcore.run.plan import Plan
from xcore.run.progress import Reporter, describe
from xcore.run.workbench import Workbench, completed
from xcore.store.environment import differences, numerics
from xcore.store.run_directory import Store

IDENTITIES = "identities.json"

Draw = Callable[[Explanation, Samples, Path], None]
"""(explanation, explained samples, directory) -> pictures in the directory."""


@dataclass
class Result:
    """What a run of the loop did."""

    outcomes: list[Outcome] = field(default_factory=list)
    score_failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, status: str) -> int:
        return sum(o.status == status for o in self.outcomes)

    @property
    def cached(self) -> int:
        return sum(o.cached for o in self.outcomes)


class Bench:
    """Runs a plan into a store.

    Parameters
    ----------
    draw
        Draws the pictures of an explanation into its record; None = no pictures.
    strict
        Recompute explanations that were made with other library versions, thread counts or devices; else they are
        kept, with a warning.
    identities
        What the cells and scores of the run were identified by when it was made (``identities.json``), so that a report
        shows what the run has, whatever was installed since. Empty = as things are now.
    """

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        store: Store,
        reporter: Reporter,
        *,
        draw: Draw | None = None,
        strict: bool = False,
        identities: Mapping[str, str] | None = None,
    ) -> None:
        self.plan, self.store, self.reporter, self.draw, self.strict = plan, store, reporter, draw, strict
        self.workbench = Workbench(registry, store)
        self.identities = dict(identities or {})
        self._loading = ""
        # Digests of plain data, made once: every cell is asked for its identity by every metric.
        self._cell_keys = {id(cell): digest(asdict(cell)) for cell in plan.cells}
        self._score_keys: dict[tuple[str, tuple[str, ...], int, str], str] = {}

    def run(self, engine: Engine | None = None, begin: Callable[[], None] = lambda: None) -> Result:
        """Compute the explanations that are missing, then the scores that are missing.

        `begin` is called when the request has been checked, before anything is written.
        """
        start = time.perf_counter()
        self.store.clean()
        result = Result()
        for note in self.plan.notes:
            self.reporter.warn(note)
        finished, pending = self._split()
        for cell in pending:
            for metric in self.plan.metrics:
                self.score_identity(metric, [cell])  # a helper model that is not there is found before any is loaded
        for cell in pending:
            self._tell_of_loading(cell)
            with contextlib.suppress(NotApplicable):  # the cell will be skipped with this reason
                self.workbench.check(cell)
            for ref in (cell.contrast, cell.heldout):
                if ref:
                    self.workbench.dataset(ref)
        begin()
        self._keep_identities()
        self.reporter.begin(len(self.plan.cells), len(finished))
        alone = [metric for metric in self.plan.metrics if not self.across(metric)]
        for cell in finished:
            self._score([cell], alone, result)
        ran: dict[str, Outcome] = {}
        for outcome in (engine or InProcess()).run(pending, self._work):
            ran[self.identity(outcome.cell)] = outcome
            self.reporter.end_cell(outcome)
            if outcome.status == "ok":
                self._score([outcome.cell], alone, result)
        joint = [metric for metric in self.plan.metrics if self.across(metric)]
        for across in dict.fromkeys(map(self.across, joint)):
            for cells in self.groups(across):
                self._score(cells, [metric for metric in joint if self.across(metric) == across], result)
        self._keep_identities()
        if pending:
            self._tell_of_data()
        for cell in self.plan.cells:
            known = self.outcome(cell, cached=cell in finished)
            unwritten = ran.get(self.identity(cell)) if not known.record else None
            result.outcomes.append(replace(unwritten, cell=cell) if unwritten else known)
        result.seconds = time.perf_counter() - start
        return result

    def _tell_of_loading(self, cell: Cell) -> None:
        loading = f"loading {cell.classifier}" + ("" if cell.data == cell.classifier else f" and {cell.data}")
        if loading != self._loading:
            self._loading = loading
            self.reporter.note(loading)

    def _tell_of_data(self) -> None:
        """Warn of everything that was left out of the data: nothing is skipped silently."""
        for note in dict.fromkeys(note for cell in self.plan.cells for note in self.workbench.notes(cell)):
            self.reporter.warn(note)
        skipped: dict[str, dict[str, None]] = {}
        for cell in self.plan.cells:
            skipped.setdefault(cell.data.text, {}).update(dict.fromkeys(self.workbench.skipped(cell)))
        for ref, lines in skipped.items():
            if lines:
                more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
                shown = "; ".join([*lines][:3])
                self.reporter.warn(f"{len(lines)} input(s) of {ref} were left out: {shown}{more}")

    # -- identities --------------------------------------------------------------------------------------------------
    def identity(self, cell: Cell) -> str:
        """Identity of the explanation of a cell."""
        key = self._cell_keys.get(id(cell)) or digest(asdict(cell))
        if key not in self.identities:
            self.identities[key] = self.workbench.identity.explanation(cell)
        return self.identities[key]

    def score_identity(self, metric: Ref, cells: Sequence[Cell]) -> str:
        """Identity of the scores of a metric over these cells' explanations."""
        explanations = tuple(sorted(self.identity(c) for c in cells))
        first = cells[0]
        about = (metric.text, explanations, first.budget.heldout, first.heldout.text if first.heldout else "")
        if about not in self._score_keys:
            heldout = asdict(first.heldout) if first.heldout else None
            self._score_keys[about] = digest([asdict(metric), asdict(first.budget), heldout, list(explanations)])
        key = self._score_keys[about]
        if key not in self.identities:
            self.identities[key] = self.workbench.identity.score(metric, explanations, first)
        return self.identities[key]

    def _keep_identities(self) -> None:
        """Add what this run was identified by; an interrupted run must not forget what the one before it had scored."""
        path = self.store.root / IDENTITIES
        try:
            before = read_json(path) if path.exists() else {}
            write_json(path, {**before, **self.identities})
        except OSError as error:  # a full disk fails cells one by one, not the run
            self.reporter.warn(f"cannot write {IDENTITIES}: {_reason(error)}")

    def _split(self) -> tuple[list[Cell], list[Cell]]:
        """Cells whose record is there, and those to run; two cells of one identity (two labels) run once."""
        finished, pending, seen = [], [], set[str]()
        now, changed = numerics(self.plan.threads), dict[str, None]()
        for cell in self.plan.cells:
            identity = self.identity(cell)
            record = self.store.read(identity)
            done = record is not None and record["status"] == "ok"
            other = differences(record.get("numerics", now), now) if record is not None and done else []
            changed.update(dict.fromkeys(other))
            if done and not (other and self.strict):
                finished.append(cell)
            elif identity not in seen:
                pending.append(cell)
            seen.add(identity)
        if changed:
            what = "they are recomputed" if self.strict else "they are kept (--strict recomputes them)"
            self.reporter.warn(f"finished cells were made with {'; '.join(changed)}; {what}")
        return finished, pending

    def outcome(self, cell: Cell, cached: bool) -> Outcome:
        """What the store knows of a cell."""
        record = self.store.read(self.identity(cell))
        if record is None:
            return Outcome(cell, "failed", "", "no record was written")
        name = self.store.record_name(cell, self.identity(cell))
        return Outcome(cell, record["status"], name, record["reason"], record["seconds"], cached)

    # -- explaining --------------------------------------------------------------------------------------------------
    def _work(self, cell: Cell) -> Outcome:
        identity = self.identity(cell)
        name = self.store.record_name(cell, identity)
        self.reporter.begin_cell(cell)
        start = time.perf_counter()
        status, reason, trace = "ok", "", ""
        with tempfile.TemporaryDirectory(prefix="xcore-") as workdir:
            try:
                explanation = self._explain(cell, Path(workdir))
                self._write(name, cell, "ok", "", "", time.perf_counter() - start, explanation)
            except NotApplicable as error:
                status, reason = "skipped", str(error)
            except (Exception, SystemExit) as error:
                status, reason, trace = "failed", _reason(error), traceback.format_exc()
            seconds = time.perf_counter() - start
            if status != "ok":
                try:
                    self._write(name, cell, status, reason, trace, seconds, None)
                except OSError as error:  # a full disk: the reason is still told, and the others go on
                    name = ""
                    self.reporter.warn(f"the record of {describe(cell)} cannot be written: {_reason(error)}")
        return Outcome(cell, status, name, reason, seconds)  # type: ignore[arg-type]

    def _explain(self, cell: Cell, workdir: Path) -> Explanation:
        card, _ = self.workbench.registry.find("explainer", cell.method)
        modality = self.workbench.dataset(cell.data).modality
        if modality not in card.modalities:
            raise NotApplicable(
                f"{cell.method} explains {' and '.join(card.modalities)}, and {cell.data} is {modality}"
            )
        method = self.workbench.component("explainer", cell.method)
        task = self.workbench.task(cell, workdir, self.reporter.step)
        start = time.perf_counter()
        with seeded(cell.seed, self.plan.threads):
            check_target(task)
            explanation: Explanation = checked(method.explain(task), cell.label, task.samples)
        seconds = time.perf_counter() - start - explanation.cost.shared_seconds
        cost = replace(explanation.cost, seconds=seconds, peak_mb=peak_mb())
        return replace(completed(explanation, task), cost=cost)

    def _write(
        self, name: str, cell: Cell, status: str, reason: str, trace: str, seconds: float, made: Explanation | None
    ) -> None:
        record = {"cell": asdict(cell), "status": status, "reason": reason, "traceback": trace, "seconds": seconds}
        record |= {"skipped_inputs": self.workbench.skipped(cell), "data_notes": self.workbench.notes(cell)}
        pictures = None
        if made is not None and self.draw is not None:
            pictures = partial(self.draw, made, self.workbench.explained(cell))
        self.store.write(name, record | {"numerics": numerics(self.plan.threads)}, made, pictures)

    # -- scoring -----------------------------------------------------------------------------------------------------
    def across(self, metric: Ref) -> tuple[str, ...]:
        """What the cells differ in that a metric judges together; empty if it judges each explanation alone."""
        known = self.plan.metric_cards.get(metric.text)
        return tuple(known["across"] if known else self.workbench.registry.find("metric", metric)[0].across)

    def groups(self, across: Sequence[str]) -> list[list[Cell]]:
        """The finished cells that are judged together, in an order that is not the plan's: it changes no score."""
        groups: dict[str, list[Cell]] = {}
        for cell in self.plan.cells:
            if (self.store.read(self.identity(cell)) or {}).get("status") == "ok":
                key = self._cell_keys[id(cell)]
                if across:
                    differ = {*across, *(["data_seed"] if "seed" in across else [])}  # it may follow the seed
                    key = digest({k: v for k, v in asdict(cell).items() if k not in differ})
                groups.setdefault(key, []).append(cell)
        return [sorted(cells, key=lambda c: (c.classifier.text, c.seed)) for cells in groups.values()]

    def unscored(self) -> list[str]:
        """What finished explanations still lack, one line each: a metric that failed wrote no scores."""
        groups = ((metric, cells) for metric in self.plan.metrics for cells in self.groups(self.across(metric)))
        return [
            f"{metric} on {cells[0].label} {cells[0].cls}: no score was written"
            for metric, cells in groups
            if self.store.read_scores(self.score_identity(metric, cells)) is None
        ]

    def _score(self, cells: Sequence[Cell], metrics: Sequence[Ref], result: Result) -> None:
        """Score a group of explanations by these metrics; each explanation is read once, and only if it must be.

        Every metric gets a copy, so that none can change what the next one judges.
        """
        explanations: list[Explanation] = []
        for metric in metrics:
            identity = self.score_identity(metric, cells)
            if self.store.read_scores(identity) is not None:
                continue
            first = cells[0]
            self.reporter.note(f"scoring {metric} on {first.label} {first.cls} seed {first.seed}")
            try:
                judge: Metric = self.workbench.component("metric", metric)
                about: dict[str, Any] = {
                    "metric": metric.text,
                    "direction": judge.direction,
                    "label": first.label,
                    "class": first.cls,
                }
                try:
                    explanations = explanations or [self.store.load(self.identity(c)) for c in cells]
                    runs = [self.workbench.run(c, deepcopy(e)) for c, e in zip(cells, explanations, strict=True)]
                    about["heldout"] = len(runs[0].heldout)
                    scores = self._judge(judge, metric, runs)
                except (NotApplicable, MissingError) as error:
                    scores = [Score(metric.text, reason=str(error))]
                self.store.write_scores(identity, scores, about)
            except (Exception, SystemExit) as error:  # one metric failing on one explanation must not lose the run
                result.score_failures.append(f"{metric} on {first.label} {first.cls}: {_reason(error)}")
                self.reporter.warn(result.score_failures[-1])

    def _judge(self, judge: Metric, metric: Ref, runs: list[Run]) -> list[Score]:
        if "truth" in judge.needs:
            runs = [replace(run, truth=self.workbench.truth(run.cell)) for run in runs]
        if reason := not_applicable(judge, runs[0], self.workbench.registry.find("metric", metric)[0].modalities):
            return [Score(metric.text, reason=reason)]
        with seeded(0, self.plan.threads):
            return checked_scores(judge.score(runs))


def _reason(error: BaseException) -> str:
    if isinstance(error, XcoreError):
        return str(error)
    if reason := out_of_memory(error):
        return reason
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
