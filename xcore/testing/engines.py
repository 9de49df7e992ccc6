"""What every engine must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xcore.contract.protocols import Limits
from xcore.contract.types import Cell, Outcome, Ref
from xcore.testing.checklist import check, expect
from xcore.testing.watching import Given, Subject, Watched, watch

if TYPE_CHECKING:
    from xcore.contract.protocols import Engine

CELLS = 3


@dataclass(frozen=True)
class EchoWork:
    """Work that any process can do: each cell is done at once, and the second one fails."""

    root: str
    limits: Limits = Limits()  # noqa: RUF009 (frozen)
    threads: int = 1

    def __call__(self, cell: Cell) -> Outcome:
        if cell.seed == 1:
            return Outcome(cell, "failed", f"record-{cell.seed}", reason="ValueError: as planned")
        return Outcome(cell, "ok", f"record-{cell.seed}")

    def lost(self, cell: Cell, reason: str, seconds: float = 0.0) -> Outcome:
        return Outcome(cell, "failed", f"record-{cell.seed}", reason=reason, seconds=seconds)

    def ending_itself(self) -> EchoWork:
        return self


@dataclass
class Running(Subject):
    """An engine with a folder for its run."""

    engine: Engine
    folder: Path
    cells: Sequence[Cell] = field(
        default_factory=lambda: [
            Cell("made", Ref("made"), Ref("tiny"), Ref("live"), "red", seed) for seed in range(CELLS)
        ]
    )

    def watch(self) -> Watched:
        """See what is left when its run is closed after the first outcome."""

        def work() -> None:
            outcomes = self.engine.run(self.cells, EchoWork(str(self.folder)))
            next(iter(outcomes))
            close = getattr(outcomes, "close", None)
            expect(callable(close), "run() gives no generator that can be closed")
            if callable(close):
                close()

        return watch(work, Given())


@check(
    "engine",
    why="A cell without an outcome is missing from the table; one with two is counted twice.",
    mend="Yield what work(cell) gives for each cell, and work.lost(cell, reason) where its process ended.",
)
def every_cell_has_one_outcome(subject: Running) -> None:
    """Each cell comes back once, with the outcome of the work, a failed one, too."""
    work = EchoWork(str(subject.folder))
    made = list(subject.engine.run(subject.cells, work))
    strange = [type(one).__name__ for one in made if not isinstance(one, Outcome)]
    expect(not strange, f"it yields a {strange[0] if strange else ''}; it must yield outcomes")
    seeds = sorted(one.cell.seed for one in made)
    expect(seeds == [*range(CELLS)], f"of cells {[*range(CELLS)]}, it gives outcomes of {seeds}")
    states = {one.cell.seed: one.status for one in made}
    expect(states == {0: "ok", 1: "failed", 2: "ok"}, f"the outcomes are not those of the work: {states}")


@check("engine", why="A run may have nothing left to do.", mend="Yield nothing where there are no cells.")
def no_cells_are_no_outcomes(subject: Running) -> None:
    """Without cells, there are no outcomes."""
    made = list(subject.engine.run([], EchoWork(str(subject.folder))))
    expect(not made, f"without cells, it gives {len(made)} outcomes")


@check(
    "engine",
    why="Ctrl-C and a broken pipe close the run; what goes on would write into it.",
    mend="End the cells that are running in a `finally` around the `yield`.",
)
def it_can_be_closed(subject: Running) -> None:
    """Its run can be closed after the first outcome."""
    subject.watched().result()


@check(
    "engine", why="The user is told which limits nobody keeps.", mend="List the names of `xcore.contract.Limits` only."
)
def it_names_limits_that_there_are(subject: Running) -> None:
    """What it says that it enforces are limits of the contract."""
    kept: frozenset[str] = getattr(subject.engine, "enforces", frozenset())
    strange = sorted(set(kept) - set(Limits.__dataclass_fields__))
    expect(not strange, f"enforces holds {', '.join(strange)}; known are {', '.join(Limits.__dataclass_fields__)}")
