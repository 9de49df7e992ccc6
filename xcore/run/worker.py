"""What runs a cell, in whatever process: a plain description of the work, and the live objects that are made from it.

The process that plans (`xcore.run.loop.Bench`) lends its own objects to the work, so that nothing is loaded twice where
an engine calls it there. Any other process makes them from the description, once, and keeps them for its next cell.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from xcore.base.digests import digest, plain_data
from xcore.base.errors import Halt, MissingError, NotApplicable, XcoreError, in_one_line
from xcore.base.memory import out_of_memory, peak_mb
from xcore.base.seeding import seeded
from xcore.base.temporary import temporary_folder
from xcore.base.tracing import at_line
from xcore.contract.protocols import Limits, Metric, Run
from xcore.contract.samples import Samples
from xcore.contract.types import Cell, Explanation, Outcome, Ref, Score
from xcore.models import batches, device
from xcore.registry import Registry, load_registry
from xcore.run.checks import check_target, checked, checked_scores, metric_name, not_applicable
from xcore.run.completing import completed
from xcore.run.limits import broken, keeping
from xcore.run.progress import Reporter, describe
from xcore.run.progress_files import LIVE, Tells
from xcore.run.workbench import Workbench
from xcore.store.environment import differences, numerics
from xcore.store.identity import Identity, cell_key, cell_keys
from xcore.store.records import Damaged
from xcore.store.run_directory import Store

Draw = Callable[[Explanation, Samples, Path], None]
"""(explanation, explained samples, directory) -> pictures in the directory."""


@dataclass(frozen=True)
class Work:
    """What an engine calls with a cell, in any process that sees the run directory (see `xcore.contract.Work`)."""

    token: str
    """Names the run of the loop, so that a process knows what it has made for it."""
    root: str
    folder: str
    """Where the run was started: references may hold relative paths."""
    metrics: tuple[Ref, ...]
    """Those that judge one explanation alone: they run where it is."""
    threads: int
    numerics: Mapping[str, Any] = field(default_factory=dict)
    """What is recorded of threads, which a process elsewhere would count otherwise."""
    plugins: tuple[str, ...] = ()
    device: str = "cpu"
    batch_size: int | None = None
    strict: bool = False
    draw: Draw | None = None
    limits: Limits = field(default_factory=Limits)
    ends_itself: bool = False
    """Whether the process of a cell that breaks a limit ends itself."""

    def __call__(self, cell: Cell) -> Outcome:
        """Explain a cell if it is not explained, and score it as far as it is not scored."""
        start = time.perf_counter()
        try:
            worker = _worker(self)
        except (Exception, SystemExit) as error:
            reason = f"its process could not load what it needs: {reason_of(error)}"
            return Outcome(cell, "failed", "", reason, time.perf_counter() - start)
        with keeping(self.limits, self._note(cell)) if self.ends_itself else contextlib.nullcontext():
            return worker.run(cell, self.metrics)

    def lost(self, cell: Cell, reason: str, seconds: float = 0.0) -> Outcome:
        """Record that a cell took its process with it; for the process in which the engine runs."""
        return _worker(self).lost(cell, broken(self.limits, self._note(cell)) or reason, seconds)

    def ending_itself(self) -> Work:
        """The same work, whose process ends itself when a cell breaks a limit."""
        return replace(self, ends_itself=True)

    def _note(self, cell: Cell) -> Path:
        """Where a process that ends itself leaves the reason."""
        return Path(self.root) / LIVE / f"ended-{digest([self.token, asdict(cell)])}.txt"


_lent: dict[str, Worker] = {}
"""Token -> the objects of the process that plans, while it runs."""
_made: dict[str, Worker] = {}
"""Token -> what this process made from a description; of one run only."""


@contextlib.contextmanager
def lent(work: Work, worker: Worker) -> Iterator[Work]:
    """Let the work use these objects in this process."""
    _lent[work.token] = worker
    try:
        yield work
    finally:
        del _lent[work.token]


def _worker(work: Work) -> Worker:
    if found := _lent.get(work.token) or _made.get(work.token):
        return found
    _made.clear()
    root = Path(work.root)
    if not root.is_dir():
        raise MissingError(
            f"the run directory {root} is not there on this machine", "choose one that every machine sees with --out"
        )
    os.chdir(work.folder)
    device.use(work.device)
    batches.use(work.batch_size)
    registry = load_registry(work.plugins)
    collected = Collected()
    worker = Worker(
        registry,
        Store(root, tell=collected.warn),
        Tells(collected, root, begun=True),
        collected=collected,
        threads=work.threads,
        recorded=work.numerics,
        strict=work.strict,
        draw=work.draw,
    )
    _made[work.token] = worker
    return worker


class Collected(Reporter):
    """Keeps the warnings, for the outcome of a cell: a process elsewhere has nobody to tell."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)

    def taken(self) -> tuple[str, ...]:
        """The warnings since the last call."""
        lines, self.lines = tuple(self.lines), []
        return lines


class Worker:
    """Explains and scores cells with live objects, and writes what it made into the run directory.

    Parameters
    ----------
    threads
        torch threads inside a cell; 0 = as torch has it.
    recorded
        What stands in a record instead of what this process counts, such as the number of threads.
    strict
        Explanations that were made with other library versions, thread counts or devices are not finished.
    draw
        Draws the pictures of an explanation into its record; None = no pictures.
    identities
        Digests of cells and scores -> what they are identified by, as far as it is known.
    identity
        What the components are identified by, as far as somebody asked; None = nobody did.
    cells
        Cells that are kept, so that their digests are made once.
    collected
        Where warnings are kept for the outcomes of cells; None = the reporter shows them.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        reporter: Tells,
        *,
        threads: int = 0,
        recorded: Mapping[str, Any] | None = None,
        strict: bool = False,
        draw: Draw | None = None,
        identities: Mapping[str, str] | None = None,
        identity: Identity | None = None,
        cells: Sequence[Cell] = (),
        collected: Collected | None = None,
    ) -> None:
        self.collected = collected
        self.store, self.reporter, self.strict, self.draw = store, reporter, strict, draw
        self.workbench = Workbench(registry, store, identity)
        self.threads, self.recorded = threads, dict(recorded or {})
        self.identities = dict(identities or {})
        self._cells = cells
        self.missing: set[str] = set()
        """Identities of cells that nobody but this process can make, and that it has looked for in vain: without it,
        all records would be listed again for each of them."""
        self._score_keys: dict[tuple[str, tuple[str, ...], int, str], str] = {}

    # -- identities --------------------------------------------------------------------------------------------------
    @cached_property
    def _cell_keys(self) -> dict[int, str]:
        """Digests of plain data, made once: every cell is asked for its identity by every metric."""
        return dict(zip(map(id, self._cells), cell_keys(self._cells), strict=True))

    def key(self, cell: Cell) -> str:
        """What ``identities.json`` calls a cell."""
        return self._cell_keys.get(id(cell)) or cell_key(cell)

    def identity(self, cell: Cell) -> str:
        """Identity of the explanation of a cell."""
        key = self.key(cell)
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

    def numerics(self) -> dict[str, Any]:
        """What can change the last bits of what this worker makes."""
        return numerics(self.threads) | self.recorded

    # -- cells -------------------------------------------------------------------------------------------------------
    def run(self, cell: Cell, metrics: Sequence[Ref]) -> Outcome:
        """Explain a cell if it is not explained, and score it by these metrics as far as it is not scored."""
        try:
            outcome = self.outcome(cell, cached=True) if self.is_done(cell) else self.explain(cell)
        except XcoreError as error:  # files that identify it are gone
            outcome = Outcome(cell, "failed", "", str(error))
        if outcome.status == "ok":
            outcome = replace(outcome, unscored=tuple(self.score([cell], metrics)))
        if self.collected is not None:
            self.reporter.rest()
            outcome = replace(outcome, notes=self.collected.taken())
        return outcome

    def is_done(self, cell: Cell) -> bool:
        """Whether the explanation of a cell is there, undamaged, and made as the run asks."""
        identity = self.identity(cell)
        if identity in self.missing:
            self.missing.remove(identity)  # from now on it may be there
            return False
        record = self.store.whole(identity, every=True)
        if record is None or record["status"] != "ok":
            return False
        return not (self.strict and differences(record.get("numerics", {}), self.numerics()))

    def outcome(self, cell: Cell, cached: bool) -> Outcome:
        """What the store knows of a cell."""
        try:
            record = self.store.checked(self.identity(cell))
        except Damaged as error:
            return Outcome(cell, "failed", "", error.message)
        if record is None:
            return Outcome(cell, "pending", "", "not done yet")
        name = self.store.record_name(cell, self.identity(cell))
        return Outcome(cell, record["status"], name, record["reason"], record["seconds"], cached)

    def lost(self, cell: Cell, reason: str, seconds: float) -> Outcome:
        """Record that a cell ended its process; what it had finished before is kept."""
        if self.is_done(cell):
            unscored = f"{cell.label} {cell.cls} seed {cell.seed}: {reason}, when it was scored"
            return replace(self.outcome(cell, cached=False), unscored=(unscored,))
        name = self._record_failure(cell, "failed", reason, "", seconds)
        return Outcome(cell, "failed", name, reason, seconds)

    # -- explaining --------------------------------------------------------------------------------------------------
    def explain(self, cell: Cell) -> Outcome:
        """Make the explanation of a cell and write its record; a cell that fails harms no other."""
        self.reporter.begin_cell(cell)
        name = self.store.record_name(cell, self.identity(cell))
        start = time.perf_counter()
        status, reason, trace = "ok", "", ""
        with temporary_folder() as workdir:
            try:
                explanation = self._explanation(cell, workdir)
                self._write(name, cell, "ok", "", "", time.perf_counter() - start, explanation)
            except NotApplicable as error:
                status, reason = "skipped", str(error)
            except (KeyboardInterrupt, Halt):
                raise
            except BaseException as error:  # a library's own may be no Exception, as those of asyncio that is cancelled
                reason = f"{reason_of(error)}{self._at_line(error, 'explainer', cell.method)}"
                status, trace = "failed", traceback.format_exc()
            seconds = time.perf_counter() - start
            if status != "ok":
                name = self._record_failure(cell, status, reason, trace, seconds)
        return Outcome(cell, status, name, reason, seconds)  # type: ignore[arg-type]

    def _explanation(self, cell: Cell, workdir: Path) -> Explanation:
        card, _ = self.workbench.registry.find("explainer", cell.method)
        modality = self.workbench.dataset(cell.data).modality
        if modality not in card.modalities:
            raise NotApplicable(
                f"{cell.method} explains {' and '.join(card.modalities)}, and {cell.data} is {modality}"
            )
        method = self.workbench.component("explainer", cell.method)
        task = self.workbench.task(cell, workdir, self.reporter.step)
        start = time.perf_counter()
        with seeded(cell.seed, self.threads):
            check_target(task)
            with self.workbench.guard.watch(cell.label):
                made = method.explain(task)
            explanation = checked(made, cell.label, task)
        seconds = time.perf_counter() - start - explanation.cost.shared_seconds
        cost = replace(explanation.cost, seconds=seconds, peak_mb=peak_mb())
        return replace(completed(explanation, task), cost=cost)

    def _record_failure(self, cell: Cell, status: str, reason: str, trace: str, seconds: float) -> str:
        """Write why a cell has no explanation; the name of the record, or "" after a warning if it cannot be."""
        name = self.store.record_name(cell, self.identity(cell))
        try:
            self._write(name, cell, status, reason, trace, seconds, None)
        except OSError as error:  # a full disk: the reason is still told, and the others go on
            self.reporter.warn(f"the record of {describe(cell)} cannot be written: {reason_of(error)}")
            return ""
        return name

    def _write(
        self, name: str, cell: Cell, status: str, reason: str, trace: str, seconds: float, made: Explanation | None
    ) -> None:
        record = {"cell": plain_data(cell), "status": status, "reason": reason, "traceback": trace, "seconds": seconds}
        record |= {"skipped_inputs": self.workbench.skipped(cell), "data_notes": self.workbench.notes(cell)}
        pictures = None
        if made is not None and self.draw is not None:
            pictures = partial(self.draw, made, self.workbench.explained(cell))
        self.store.write(name, record | {"numerics": self.numerics()}, made, pictures)

    # -- scoring -----------------------------------------------------------------------------------------------------
    def score(self, cells: Sequence[Cell], metrics: Sequence[Ref]) -> list[str]:
        """Score a group of explanations by these metrics; each explanation is read once, and only if it must be.

        Every metric gets a copy, so that none can change what the next one judges. Returns what failed, a line each.
        """
        explanations: list[Explanation] = []
        failures = []
        for metric in metrics:
            first = cells[0]
            try:
                identity = self.score_identity(metric, cells)
                if self.store.whole_scores(identity) is not None:
                    continue
                self.reporter.note(f"scoring {metric} on {first.label} {first.cls} seed {first.seed}")
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
            except (KeyboardInterrupt, Halt):
                raise
            except BaseException as error:  # one metric failing on one explanation must not lose the run
                where = self._at_line(error, "metric", metric)
                failures.append(f"{metric} on {first.label} {first.cls}: {reason_of(error)}{where}")
        return failures

    def _at_line(self, error: BaseException, kind: str, ref: Ref) -> str:
        """Where an error arose, for its author: in the plugin of this component, else in any plugin; "" if in none.

        Errors that say what to do need no line.
        """
        if isinstance(error, XcoreError) or out_of_memory(error):
            return ""
        registry = self.workbench.registry
        own = registry.find(kind, ref)[0].module.partition(".")[0]
        return at_line(error, (own,)) or at_line(error, registry.packages)

    def _judge(self, judge: Metric, metric: Ref, runs: list[Run]) -> list[Score]:
        if "truth" in judge.needs:
            runs = [replace(run, truth=self.workbench.truth(run.cell)) for run in runs]
        if "generator" in self.workbench.registry.uses(metric, "metric"):
            runs = [replace(run, task=self.workbench.with_generator(run.task, run.cell)) for run in runs]
        if reason := not_applicable(judge, runs[0], self.workbench.registry.find("metric", metric)[0].modalities):
            return [Score(metric.text, reason=reason)]
        with seeded(0, self.threads), self.workbench.guard.watch(metric.text):
            scores = judge.score(runs)
        return checked_scores(scores, judge, metric_name(metric.text), runs)


def reason_of(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, XcoreError):
        return str(error)
    if reason := out_of_memory(error):
        return reason
    return in_one_line(error)
