"""Progress on stderr: cells, and the steps inside the running cell, with the time left. Results never pass here."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from xcore.base.streams import for_drawing, harmless
from xcore.contract.types import Cell, Outcome


class Reporter:
    """Shows nothing: the base of the others, and the default of the Python API."""

    live = False
    """Whether it redraws one line in place, so that every step may be shown."""

    def begin(self, cells: int, finished: int) -> None:
        """The loop starts: so many cells (0: they are not counted), of which so many are finished already."""

    def begin_cell(self, cell: Cell) -> None:
        """A cell starts."""

    def step(self, step: int, total: int, note: str = "") -> None:
        """A step inside the running cell is done."""

    def end_cell(self, outcome: Outcome) -> None:
        """A cell is done."""

    def note(self, text: str) -> None:
        """Show what is done between cells."""

    def warn(self, text: str) -> None:
        """Show a line that the user must see."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Restore the terminal."""


def describe(cell: Cell) -> str:
    """A cell in a few words."""
    return f"{cell.label}  {cell.cls}  seed {cell.seed}"


EVERY = 10.0
"""Seconds between two lines of a log that tell of steps inside a cell."""


class Lines(Reporter):
    """One plain line a cell, for logs, and now and then one of the steps inside it.

    Parameters
    ----------
    phases
        Also tell what is done before and after a cell, and that it starts: for commands that run few of them.
    """

    def __init__(self, phases: bool = False) -> None:
        self._done = self._cells = 0
        self._phases, self._running, self._told = phases, "", time.monotonic()

    def begin(self, cells: int, finished: int) -> None:
        self._done, self._cells = finished, cells
        if finished:
            self.warn(f"{finished} of {cells} cells are finished already")

    def begin_cell(self, cell: Cell) -> None:
        self._running, self._told = describe(cell), time.monotonic()
        self.note(f"explaining {self._running}")

    def step(self, step: int, total: int, note: str = "") -> None:
        if time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            self.warn(f"{self._running}  step {step} of {total}  {note}".strip())

    def note(self, text: str) -> None:
        if self._phases:
            self.warn(text)

    def end_cell(self, outcome: Outcome) -> None:
        self._done += 1
        reason = f": {outcome.reason}" if outcome.reason else ""
        count = f"[{self._done}/{self._cells}]"
        self.warn(f"{count} {describe(outcome.cell)}  {outcome.status} in {outcome.seconds:.1f} s{reason}")

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bars(Lines):
    """Two live bars on a terminal."""

    live = True

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(file=for_drawing(sys.stderr))
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._all = self._progress.add_task("cells", total=None, visible=False, note="")
        self._cell = self._progress.add_task("", total=None, visible=False, note="")
        self._last = 0.0

    def __enter__(self) -> Reporter:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, cells: int, finished: int) -> None:
        super().begin(cells, finished)
        count = f"{finished}/{cells}"
        self._progress.update(self._all, total=cells, completed=finished, note=count, visible=cells > 0)

    def begin_cell(self, cell: Cell) -> None:
        self.note(f"explaining {describe(cell)}")

    def step(self, step: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last > 0.1 or step >= total:
            self._last = now
            self._progress.update(
                self._cell, completed=step, total=total, note=harmless(f"step {step} of {total}  {note}")
            )

    def end_cell(self, outcome: Outcome) -> None:
        super().end_cell(outcome)
        self._progress.update(self._all, advance=1, note=f"{self._done}/{self._cells}")
        self._progress.update(self._cell, visible=False)

    def note(self, text: str) -> None:
        self._progress.reset(self._cell, description=harmless(text), total=None, visible=True, note="")

    def warn(self, text: str) -> None:
        self._console.print(harmless(text), highlight=False, markup=False, style="dim", soft_wrap=True)


class OneLine(Reporter):
    """One line below the cell of a notebook, which is replaced again and again and empty in the end."""

    live = True

    def __init__(self) -> None:
        from IPython.display import display  # type: ignore[import-not-found]

        self._about, self._last = "", 0.0
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._show("")

    def note(self, text: str) -> None:
        self._about = text
        self._show(text)

    def step(self, step: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last > 0.3:  # a notebook keeps up with a few lines a second
            self._last = now
            self._show(f"{self._about}: step {step}/{total}  {note}")

    def _show(self, text: str) -> None:
        self._handle.update({"text/plain": text}, raw=True)


def for_stderr(phases: bool = False) -> Reporter:
    """Bars on a terminal, lines elsewhere (see `Lines`)."""
    return Bars() if sys.stderr.isatty() else Lines(phases)


def for_one_explanation() -> Reporter:
    """What `xcore.explain` shows while it works: a line in a notebook, bars on a terminal, nothing elsewhere."""
    if "ipykernel" in sys.modules:
        return OneLine()
    return Bars() if sys.stderr.isatty() else Reporter()
