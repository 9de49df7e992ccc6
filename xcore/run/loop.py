"""The loop: plan -> engine -> cells -> records -> scores. A cell that fails never harms its neighbours."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xcore.base.digests import digest, plain_data
from xcore.base.errors import NotApplicable
from xcore.contract.protocols import Engine, Limits
from xcore.contract.types import Cell, Outcome, Ref
from xcore.models import batches, device
from xcore.registry import Registry
from xcore.run.engines import InProcess
from xcore.run.plan import Plan
from xcore.run.progress import Reporter, describe
from xcore.run.progress_files import RunFile, Tells, told
from xcore.run.result import Result
from xcore.run.workbench import Workbench
from xcore.run.worker import Draw, Work, Worker, lent, reason_of
from xcore.store.environment import differences, numerics
from xcore.store.identity import Identity
from xcore.store.records import Damaged, read_record, write_record
from xcore.store.run_directory import Store

IDENTITIES = "identities.json"
LIMITS = {"seconds": "--cell-timeout", "memory_mb": "--cell-memory"}
"""Names of `Limits` -> the flags that set them."""


def known_identities(root: Path, warn: Callable[[str], None]) -> dict[str, str]:
    """What the cells and scores of a run were identified by; nothing, after a warning, if the file is damaged."""
    if not (root / IDENTITIES).is_file():
        return {}
    try:
        kept = read_record(root / IDENTITIES)
    except Damaged as error:
        warn(error.message)
        return {}
    return {key: value for key, value in kept.items() if key != "schema" and isinstance(value, str)}


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
    identity
        What the components are identified by, as far as somebody asked; None = nobody did.
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
        identity: Identity | None = None,
    ) -> None:
        self.plan, self.store, self.reporter = plan, store, Tells(reporter, store.root)
        self._file = RunFile(store.root)
        store.tell = reporter.warn
        self.worker = Worker(
            registry,
            store,
            self.reporter,
            threads=plan.threads,
            strict=strict,
            draw=draw,
            identities=identities,
            identity=identity,
            cells=plan.cells,
        )
        self._loading = ""

    @property
    def workbench(self) -> Workbench:
        """The live objects of this process."""
        return self.worker.workbench

    @property
    def identities(self) -> dict[str, str]:
        """Digests of cells and scores -> what they are identified by, as far as somebody asked."""
        return self.worker.identities

    @property
    def _alone(self) -> list[Ref]:
        """The metrics that judge one explanation alone: they run where it is made."""
        return [metric for metric in self.plan.metrics if not self.across(metric)]

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
        engine = engine or InProcess()
        if isinstance(engine, InProcess):
            self.worker.missing = {*map(self.identity, pending)} - self.store.identities()
        unscored = [cell for cell in self._once(finished) if self._lacks_scores(cell, self._alone)]
        work = self._work(engine) if pending or unscored else None
        if work and hasattr(engine, "check"):
            engine.check(work)
        begin()
        self._keep_identities()
        self.reporter.begin(len(self.plan.cells), len(finished))
        self._file.begin(len(self.plan.cells), len(finished), str(self.plan.engine or "local"))
        with told(self._file):
            ran, stopped = self._run_cells([*unscored, *pending], engine, work, result)
            for cells, metrics in [] if stopped else self._joint_scores():
                self._tell_of_failed_scores(self.worker.score(cells, metrics), result)
            self.reporter.rest()
            self._file.end("stopped" if stopped else "done")
        self._keep_identities()
        if pending:
            self._tell_of_data()
        there = {id(cell) for cell in finished}  # comparing each with all others would take long where there are many
        for cell in self.plan.cells:
            known = self.outcome(cell, cached=id(cell) in there)
            unwritten = ran.get(self.identity(cell)) if not known.record else None
            if unwritten and unwritten.status == "ok":
                gone = f"its record {unwritten.record} was made, and something has deleted it since"
                unwritten = replace(unwritten, status="failed", record="", reason=gone)
            result.outcomes.append(replace(unwritten, cell=cell) if unwritten else known)
        if stopped:
            left = f"{result.count('pending')} cell(s) are not done"
            self.reporter.warn(f"stopped at the first failure, as --fail-fast asks: {left}")
        result.seconds = time.perf_counter() - start
        return result

    def _run_cells(
        self, cells: Sequence[Cell], engine: Engine, work: Work | None, result: Result
    ) -> tuple[dict[str, Outcome], bool]:
        """Run and score cells; returns outcomes by identity, and whether the run stopped at a failure."""
        ran: dict[str, Outcome] = {}
        counted = Counter(map(self.identity, self.plan.cells))
        with contextlib.closing(self._outcomes(cells, engine, work)) as outcomes:
            for outcome in outcomes:
                self._tell_of_failed_scores(outcome.unscored, result)
                if not outcome.cached:
                    ran[self.identity(outcome.cell)] = outcome
                    self.reporter.end_cell(outcome)
                    self._file.end_cell(outcome, counted[self.identity(outcome.cell)])
                if outcome.status == "failed" and self.plan.suite.get("fail_fast"):
                    return ran, True
        return ran, False

    def _outcomes(self, cells: Sequence[Cell], engine: Engine, work: Work | None) -> Generator[Outcome]:
        """Run cells by an engine; those that fail are run again as often as was asked for."""
        if work is None:
            return
        own = {self.identity(cell): cell for cell in cells}
        with lent(work, self.worker):
            for left in reversed(range(self.plan.suite.get("retries", 0) + 1)):
                again: list[Cell] = []
                with contextlib.closing(_closable(engine.run(cells, work))) as outcomes:
                    for outcome in outcomes:
                        for note in outcome.notes:
                            self.reporter.warn(note)
                        outcome = self._as_planned(outcome, own)
                        if outcome.status == "failed" and left:
                            times = f"{left} time{'' if left == 1 else 's'}"
                            about = f"{describe(outcome.cell)}  failed: {outcome.reason}"
                            self.reporter.warn(f"{about}; it will be tried again, at most {times}")
                            again.append(outcome.cell)
                        else:
                            yield outcome
                cells = again
                if not cells:
                    return

    def _work(self, engine: Engine) -> Work:
        """What an engine calls; the user is told of limits that it does not keep."""
        suite = self.plan.suite
        limits = Limits(suite.get("cell_timeout"), suite.get("cell_memory"))
        kept = getattr(engine, "enforces", ())
        for name, flag in LIMITS.items():
            if getattr(limits, name) is not None and name not in kept:
                where = f"the engine {self.plan.engine}" if self.plan.engine else "a run in this process"
                self.reporter.warn(f"{flag} is not kept: {where} cannot end a cell; use --engine processes")
        threads = self.plan.threads
        if not threads and not isinstance(engine, InProcess):
            import torch

            threads = torch.get_num_threads()  # what a cell would have here
        return Work(
            token=uuid.uuid4().hex,
            root=str(self.store.root.absolute()),
            folder=str(Path.cwd()),
            metrics=tuple(self._alone),
            threads=threads,
            numerics={"threads": numerics(self.plan.threads)["threads"]},
            plugins=tuple(self.workbench.registry.files),
            device=device.current(),
            batch_size=batches.current(),
            strict=self.worker.strict,
            draw=self.worker.draw,
            limits=limits,
        )

    def _as_planned(self, outcome: Outcome, own: Mapping[str, Cell]) -> Outcome:
        """An outcome of another process with our own cell; a failure if it was made with other code or files."""
        wanted = self.identity(outcome.cell)
        outcome = replace(outcome, cell=own.get(wanted, outcome.cell))
        if outcome.record and outcome.record.rpartition(".")[2] != wanted:
            reason = "its process found other code or other files than this one (run the same command again)"
            return replace(outcome, status="failed", record="", reason=reason)
        return outcome

    def _tell_of_failed_scores(self, lines: Sequence[str], result: Result) -> None:
        for line in lines:
            result.score_failures.append(line)
            self.reporter.warn(line)
            self._file.fail(line)

    def _joint_scores(self) -> Iterator[tuple[list[Cell], list[Ref]]]:
        """Groups of finished cells with the metrics that judge them together."""
        joint = [metric for metric in self.plan.metrics if self.across(metric)]
        for across in dict.fromkeys(map(self.across, joint)):
            for cells in self.groups(across):
                yield cells, [metric for metric in joint if self.across(metric) == across]

    def score(self, metrics: Sequence[Ref], begin: Callable[[], None] = lambda: None) -> Result:
        """Score the explanations that are there by these metrics, as far as they are not scored; make none.

        `begin` is called before anything is written.
        """
        start = time.perf_counter()
        self.store.clean()
        groups = {across: self.groups(across) for across in map(self.across, metrics)}
        for metric in metrics:
            for cells in groups[self.across(metric)]:
                self.score_identity(metric, cells)  # a helper model that is not there is found before any is loaded
        begin()
        result = Result()
        for across, found in groups.items():
            for cells in found:
                own = [metric for metric in metrics if self.across(metric) == across]
                self._tell_of_failed_scores(self.worker.score(cells, own), result)
        self._keep_identities()
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
        return self.worker.identity(cell)

    def score_identity(self, metric: Ref, cells: Sequence[Cell]) -> str:
        """Identity of the scores of a metric over these cells' explanations."""
        return self.worker.score_identity(metric, cells)

    def _keep_identities(self) -> None:
        """Add what this run was identified by; an interrupted run must not forget what the one before it had scored."""
        path = self.store.root / IDENTITIES
        try:
            before = known_identities(self.store.root, self.reporter.warn)
            if not self.identities.items() <= before.items() or not path.is_file():
                write_record(path, {**before, **self.identities}, lines=True)
        except OSError as error:  # a full disk fails cells one by one, not the run
            self.reporter.warn(f"cannot write {IDENTITIES}: {reason_of(error)}")

    def _split(self) -> tuple[list[Cell], list[Cell]]:
        """Cells whose record is there, and those to run; two cells of one identity (two labels) run once."""
        finished, pending, seen = [], [], set[str]()
        now, changed = numerics(self.plan.threads), dict[str, None]()
        for cell in self.plan.cells:
            identity = self.identity(cell)
            record = self.store.whole(identity, every=self._lacks_scores(cell, self.plan.metrics))
            done = record is not None and record["status"] == "ok"
            other = differences(record.get("numerics", now), now) if record is not None and done else []
            changed.update(dict.fromkeys(other))
            if done and not (other and self.worker.strict):
                finished.append(cell)
            elif identity not in seen:
                pending.append(cell)
            seen.add(identity)
        if changed:
            what = "they are recomputed" if self.worker.strict else "they are kept (--strict recomputes them)"
            self.reporter.warn(f"finished cells were made with {'; '.join(changed)}; {what}")
        return finished, pending

    def _lacks_scores(self, cell: Cell, metrics: Sequence[Ref]) -> bool:
        """Whether one of these metrics is still to read this explanation, so that its files must be what was written.

        Of metrics that judge several explanations together, it is not looked up.
        """
        return any(
            self.across(metric) or self.store.whole_scores(self.score_identity(metric, [cell])) is None
            for metric in metrics
        )

    def _once(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells without those that have the explanation of an earlier one."""
        return list({self.identity(cell): cell for cell in reversed(cells)}.values())[::-1]

    def outcome(self, cell: Cell, cached: bool) -> Outcome:
        """What the store knows of a cell."""
        return self.worker.outcome(cell, cached)

    # -- scoring -----------------------------------------------------------------------------------------------------
    def across(self, metric: Ref) -> tuple[str, ...]:
        """What the cells differ in that a metric judges together; empty if it judges each explanation alone."""
        known = self.plan.metric_cards.get(metric.text)
        return tuple(known["across"] if known else self.workbench.registry.find("metric", metric)[0].across)

    def groups(self, across: Sequence[str]) -> list[list[Cell]]:
        """The finished cells that are judged together, in an order that is not the plan's: it changes no score."""
        groups: dict[str, list[Cell]] = {}
        for cell in self.plan.cells:
            if (self.store.whole(self.identity(cell)) or {}).get("status") == "ok":
                key = self.worker.key(cell)
                if across:
                    differ = {*across, *(["data_seed"] if "seed" in across else [])}  # it may follow the seed
                    key = digest({k: v for k, v in plain_data(cell).items() if k not in differ})
                groups.setdefault(key, []).append(cell)
        return [sorted(cells, key=lambda c: (c.classifier.text, c.seed)) for cells in groups.values()]

    def unscored(self) -> list[str]:
        """What finished explanations still lack, one line each: a metric that failed wrote no scores."""
        groups = ((metric, cells) for metric in self.plan.metrics for cells in self.groups(self.across(metric)))
        return [
            f"{metric} on {cells[0].label} {cells[0].cls}: no score was written"
            for metric, cells in groups
            if self.store.whole_scores(self.score_identity(metric, cells)) is None
        ]


def _closable(outcomes: Iterator[Outcome]) -> Generator[Outcome]:
    """The outcomes of an engine as a generator, which can be closed, and closes the engine's own if that can be."""
    try:
        yield from outcomes
    finally:
        close = getattr(outcomes, "close", None)
        if close:
            close()
