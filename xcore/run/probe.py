"""The probe that a forecast is made from (see `xcore.run.forecast`), and what a run still lacks.

The probe runs one cell of each kind (a method under its label, on a classifier) in a run directory of its own, with the
run's samples, scores it and takes the times apart:

- shared work is loading, samples, random sets and artifacts. It counts once, and what is drawn anew for each class
  and each draw of its samples counts for each of these;
- of a method that takes steps (`Explainer`, its property ``steps``), a few are taken, and the others take as long;
- a method that tells its progress is stopped when a long rest can be seen, and the rest takes as long for each unit of
  progress. It is run once more on a few samples, for what follows the last unit and for the metrics;
- of random sets that a generator draws, a part is drawn.

Everything else is run whole. Nothing in this module knows a method.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from xcore.base.errors import Halt, XcoreError
from xcore.contract.samples import Samples
from xcore.contract.types import Adapter, Cell, Ref, Split
from xcore.registry import Registry
from xcore.run.forecast import STEPS, Amount, Kind, Seen, Tick, rest, whole
from xcore.run.loop import Bench
from xcore.run.plan import Plan
from xcore.run.progress import Reporter
from xcore.run.random_sets import Pool, RandomSets
from xcore.run.sample_pool import SamplePool
from xcore.run.workbench import Workbench
from xcore.run.worker import Draw
from xcore.store.run_directory import Store

PATIENCE = 6.0
"""Seconds after which a method that tells its progress is stopped, if the rest takes more than twice as long."""
UNITS = 3
"""Units of progress that must have been seen before."""
SHARE = 5
"""One in this many samples of a random set is drawn by the generator, where drawing this many takes long."""
DRAWN_AT_ONCE = 24
"""The fewest samples that are drawn of such a set: a batch of most generators."""
LONG = 1.0
"""Seconds above which something is long."""
QUICK = 2.0
"""Seconds below which a cell and its scores are measured twice: imports and first calls would count for every cell."""


class Clock:
    """Tells shared work from a cell's own, and counts what generators draw."""

    def __init__(self) -> None:
        self.shared, self.drawn = Amount(), 0
        self.saved = Amount()
        """Shared work of the run that the probe did without."""
        self._inside = False

    def now(self) -> Amount:
        return Amount(time.perf_counter(), time.process_time(), self.drawn)

    def own(self) -> Amount:
        """Everything so far but shared work."""
        return self.now() - self.shared

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """What happens inside is shared work."""
        if self._inside:
            yield
            return
        self._inside, start = True, self.now()
        try:
            yield
        finally:
            self._inside = False
            self.shared += self.now() - start


class _Enough(Halt):
    """Stops a method inside a report of its progress. No method catches it, as it is no `Exception`."""


class _Watch(Reporter):
    """Keeps the progress of the running cell, and stops it when it takes long."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._start, self._patience = clock, Amount(), 0.0
        self._checked = 0.0
        self.ticks: list[Tick] = []

    def start(self, patience: float) -> None:
        """A cell starts; 0 = it is never stopped."""
        self.ticks, self._start, self._patience, self._checked = [], self._clock.own(), patience, 0.0

    def step(self, step: int, total: int, note: str = "") -> None:
        self.ticks.append(Tick(step, total, self._clock.own() - self._start))
        taken = self.ticks[-1].at.seconds
        # All steps so far are looked at, and a method may tell of a hundred thousand: so not at each of them.
        if not self._patience or taken < max(self._patience, 1.1 * self._checked):
            return
        self._checked = taken
        seen = [tick for tick in self.ticks if tick.step > 0]
        if len(seen) >= UNITS and rest(seen, total - step).likely.seconds > 2 * self._patience:
            raise _Enough


class _Counted:
    """A generator that counts what it draws; everything else is passed on to it."""

    def __init__(self, inner: Any, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def generate(self, prompts: Sequence[str], *rest: Any, **more: Any) -> Samples:
        self._clock.drawn += len(prompts)
        drawn: Samples = self._inner.generate(prompts, *rest, **more)
        return drawn

    def edit(self, samples: Samples, *rest: Any, **more: Any) -> Samples:
        self._clock.drawn += len(samples)
        edited: Samples = self._inner.edit(samples, *rest, **more)
        return edited


class _Workbench(Workbench):
    """Makes what any workbench makes, by the clock."""

    def __init__(self, registry: Registry, store: Store, clock: Clock) -> None:
        super().__init__(registry, store)
        self._clock = clock
        self.pools: dict[tuple[Split, str, Any], None] = {}
        """(split, medium, purpose) of the pools that random sets were drawn from."""
        self._repeated: dict[tuple[str, str, int, int, int, str], Samples] = {}

    def component(self, kind: str, ref: Ref) -> Any:
        with self._clock.sharing():
            made = super().component(kind, ref)
        return _Counted(made, self._clock) if kind == "generator" else made

    def _of_class(self, *args: Any, **more: Any) -> Samples:
        with self._clock.sharing():
            return super()._of_class(*args, **more)

    def random_sets(self, cell: Cell, split: Split) -> RandomSets:
        made = super().random_sets(cell, split)
        if "_pool" not in vars(made):  # around the method of this one, since workbenches make plain random sets
            vars(made)["_pool"] = partial(self._timed_pool, made._pool, split)
        return made

    def _timed_pool(
        self, pool: Callable[[str, Any], SamplePool], split: Split, medium: str, purpose: Any
    ) -> SamplePool:
        self.pools[split, medium, purpose] = None
        with self._clock.sharing():
            return pool(medium, purpose)

    def _kept_pool(self, cell: Cell) -> Pool | None:
        """The first samples of a pool again and again, if drawing them took long; the clock is told what was saved."""
        whole_pool = super()._kept_pool(cell)
        if whole_pool is None:
            return None

        def pool(start_seed: int, n: int, each: int = 0, adapter: Adapter | None = None) -> Samples:
            key = (str(cell.generator), str(cell.classifier), start_seed, n, each, adapter.digest if adapter else "")
            if key in self._repeated:
                return self._repeated[key]
            few = max(-(-DRAWN_AT_ONCE // max(each, 1)), n // SHARE)
            if few >= n or self.has_artifacts:
                return whole_pool(start_seed, n, each, adapter)
            start = self._clock.now()
            drawn = whole_pool(start_seed, few, each, adapter)
            taken = self._clock.now() - start
            if taken.seconds < LONG:
                return whole_pool(start_seed, n, each, adapter)
            self._clock.saved += taken * (n / few - 1)
            repeated = drawn.take([i % len(drawn) for i in range(n * len(drawn) // few)])
            # Names of their own, lest what is remembered by a name be found for the copies.
            ids = tuple(f"{name}#{i}" for i, name in enumerate(repeated.ids))
            self._repeated[key] = replace(repeated, ids=ids)
            return self._repeated[key]

        return pool

    has_artifacts = False
    """Whether the run has artifacts already, of which pools may be."""

    def draw_class(self, cell: Cell) -> None:
        """Draw what is drawn anew for the class of a cell: its samples, and the pools of its random sets."""
        self.explained(cell)
        self.heldout(cell)
        for split, medium, purpose in list(self.pools):
            if medium.partition("+")[2]:  # drawn by the adapter of one explanation
                continue
            vars(self.random_sets(cell, split))["_pool"](medium, purpose)


class _Store(Store):
    """A run directory that makes artifacts by the clock."""

    clock: Clock

    def artifact(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        with self.clock.sharing():
            return super().artifact(name, key, make)


def finished_and_kinds(plan: Plan, registry: Registry, run: Path, strict: bool) -> tuple[int, list[Kind]]:
    """How many cells of a plan are finished in a run directory, and the kinds of work that are left.

    Parameters
    ----------
    run
        The run directory; nothing is written to it, and it need not exist.
    """
    return _Reader(plan, registry, Store(run, reading=True), Reporter(), strict=strict).left()


class _Reader(Bench):
    """Says what a run lacks."""

    def left(self) -> tuple[int, list[Kind]]:
        """How many cells are finished, and the kinds of work that are left."""
        finished, pending = self._split()
        places = {id(cell): i for i, cell in enumerate(self.plan.cells)}
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.plan.cells:
            groups.setdefault((cell.label, str(cell.classifier)), []).append(cell)
        kinds, new = [], {id(cell) for cell in pending}
        for (label, classifier), cells in groups.items():
            to_run = [places[id(cell)] for cell in cells if id(cell) in new]
            scores = {}
            for metric in self.plan.metrics:
                done = {id(c) for c in cells if self._is_scored(metric, c)} - new
                scores[metric.text] = len(cells) - len(done)
            unscored = [places[id(c)] for c in cells if not all(self._is_scored(m, c) for m in self.plan.metrics)]
            if to_run or unscored:
                kinds.append(Kind(label, classifier, tuple(to_run), (to_run or unscored)[0], scores))
        return len(finished), kinds

    def _is_scored(self, metric: Ref, cell: Cell) -> bool:
        """Whether the scores of a cell are there; those of several cells together count as all there or none."""
        across = self.across(metric)
        cells = [cell]
        if across:
            cells = next((group for group in self.groups(across) if any(c is cell for c in group)), [])
        return bool(cells) and self.store.whole_scores(self.score_identity(metric, cells)) is not None


class Probe(Bench):
    """Measures cells of a plan in a run directory of its own.

    Parameters
    ----------
    plan
        The plan.
    folder
        An empty folder, or one that holds the artifacts of the run.
    draw
        Draws the pictures of an explanation, as the run does.
    tell
        Shows what is measured.
    """

    def __init__(self, plan: Plan, registry: Registry, folder: Path, draw: Draw, tell: Callable[[str], None]) -> None:
        self.clock = Clock()
        self.watch = _Watch(self.clock)
        store = _Store(folder)
        store.clock = self.clock
        super().__init__(plan, registry, store, self.watch, draw=draw)
        self._clocked = _Workbench(registry, store, self.clock)
        self._clocked.has_artifacts = any((folder / "artifacts").iterdir())
        self.worker.workbench = self._clocked
        self.tell = tell

    def measure(self, kinds: Sequence[Kind]) -> dict[str, Any]:
        """What the kinds take, as plain data; see `assemble`."""
        start = self.clock.now()
        found = [self._kind(kind) for kind in kinds]
        shared = self.clock.shared + self.clock.saved
        seeds, classes = self._another(kinds, "data_seed"), self._another(kinds, "cls")
        took = self.clock.now() - start
        return {
            "kinds": found,
            "shared": asdict(shared),
            "class": asdict(classes),
            "seed": asdict(seeds),
            "probe": asdict(took),
        }

    def _kind(self, kind: Kind) -> dict[str, Any]:
        cell = self.plan.cells[kind.probe]
        self.tell(f"measuring {kind.label} on {cell.cls}")
        steps, count, notes = self._steps(cell), 0, []
        with suppress(XcoreError):  # the cell fails, and says why
            count = len(self.workbench.explained(cell))
        bound = STEPS if steps > 2 * STEPS else 0
        probed = f"{count} sample(s)"
        ran = self._bounded(cell, bound)
        seen = self._explain_cell(ran, 0.0 if bound else PATIENCE)
        if seen.failure and bound:  # such as options that do not go with few steps
            bound, ran = 0, cell
            seen = self._explain_cell(cell, PATIENCE)
        few, share = None, 1.0
        if bound:
            probed += f", {bound} of {steps} steps"
        elif seen.stopped:
            last = seen.ticks[-1]
            probed += f", {last.step} of {last.total} units of its progress"
            n = max(2, int(count * PATIENCE / (PATIENCE + seen.amount.seconds * last.total / last.step)))
            if n < count:
                ran = replace(cell, budget=replace(cell.budget, samples=n))
                few, share = self._explain_cell(ran, 0.0), count / n
                probed += f"; and {n} sample(s) to the end"
                if few.failure:
                    few = None
            if few is None:
                notes.append("what follows its last unit of progress, and its scores, were not measured")
        total = whole(seen, steps if bound else 0, few, share)
        scores = {} if seen.failure or (seen.stopped and few is None) else self._scores(ran)
        further = total.likely
        taken = seen.amount.seconds + sum(s.seconds for s in scores.values())
        if not bound and not seen.stopped and not seen.failure and taken < QUICK and len(kind.cells) > 2:
            again = replace(cell, seed=cell.seed + 1)  # of the same samples: drawing others is measured by itself
            second = self._explain_cell(again, 0.0)
            if not second.failure:
                further, scores = second.amount, self._scores(again)
        if seen.failure:
            notes.append(seen.failure)
        return {
            "first": asdict(total),
            "further": asdict(total * (further.seconds / total.likely.seconds if total.likely.seconds else 1.0)),
            "scores": {metric: asdict(amount) for metric, amount in scores.items()},
            "probed": probed,
            "notes": notes,
        }

    def _steps(self, cell: Cell) -> int:
        """The steps that a method would take; 0 if it takes none, or does not say."""
        with suppress(Exception):  # the cell fails, and says why
            steps = getattr(self.workbench.component("explainer", cell.method), "steps", None)
            if isinstance(steps, int):
                return min(steps, cell.budget.steps or steps)
        return 0

    @staticmethod
    def _bounded(cell: Cell, bound: int) -> Cell:
        return replace(cell, budget=replace(cell.budget, steps=bound)) if bound else cell

    def _explain_cell(self, cell: Cell, patience: float) -> Seen:
        """Explain a cell as the run would; it is stopped if a patience is given and lost."""
        self.watch.start(patience)
        start, outcome, stopped = self.clock.own(), None, False
        try:
            outcome = self.worker.explain(cell)
        except _Enough:
            stopped = True
        return Seen(self.clock.own() - start, tuple(self.watch.ticks), stopped, outcome)

    def _scores(self, cell: Cell) -> dict[str, Amount]:
        """What each metric takes on the explanation of a cell."""
        found = {}
        for metric in self.plan.metrics:
            start = self.clock.own()
            self.worker.score([cell], [metric])
            found[metric.text] = self.clock.own() - start
        return found

    def _another(self, kinds: Sequence[Kind], what: str) -> Amount:
        """What is drawn anew for each class ("cls") or seed ("data_seed"), measured on a second one if there is one."""
        cells = [self.plan.cells[i] for kind in kinds for i in kind.cells]
        same = (c for c in cells if c.classifier == cells[0].classifier)
        other = next((c for c in same if getattr(c, what) != getattr(cells[0], what)), None)
        before = self.clock.shared + self.clock.saved
        if other is not None:
            self.tell(f"measuring what is drawn for the {'class' if what == 'cls' else 'seed'} {getattr(other, what)}")
            other = replace(cells[0], **{what: getattr(other, what)})
            with suppress(XcoreError), self.clock.sharing():
                self._clocked.draw_class(other)
        return self.clock.shared + self.clock.saved - before
