"""Trackers: what follows a run, such as a dashboard. A tracker that fails is told of once, and the run goes on.

A tracker is given copies, and its errors and a change of the working directory stop here. So a run with trackers has
the table of a run without.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from xcore.base.errors import MissingError, UsageError, XcoreError
from xcore.contract.protocols import Tracker
from xcore.contract.types import Cell, Outcome, StartedRun
from xcore.registry import Registry
from xcore.run.plan import Plan
from xcore.run.progress import Reporter


class Followed(Reporter):
    """A reporter that also tells trackers what happens.

    Parameters
    ----------
    inner
        Shows progress, and that a tracker failed.
    trackers
        Name -> tracker.
    """

    def __init__(self, inner: Reporter, trackers: Mapping[str, Tracker], plan: Plan, folder: Path) -> None:
        self.inner, self.live = inner, inner.live
        self._trackers = dict(trackers)
        self._all = dict(trackers)
        self._plan, self._folder = plan, folder.absolute()

    def begin(self, cells: int, finished: int) -> None:
        self.inner.begin(cells, finished)
        plan = self._plan
        self._tell(
            lambda tracker: tracker.run_started(
                StartedRun(plan.name, self._folder, plan.as_plain(), cells=cells, finished=finished)
            )
        )

    def begin_cell(self, cell: Cell) -> None:
        self.inner.begin_cell(cell)

    def step(self, step: int, total: int, note: str = "") -> None:
        self.inner.step(step, total, note)

    def end_cell(self, outcome: Outcome) -> None:
        self.inner.end_cell(outcome)
        self._tell(lambda tracker: tracker.cell_ended(deepcopy(outcome)))

    def note(self, text: str) -> None:
        self.inner.note(text)

    def warn(self, text: str) -> None:
        self.inner.warn(text)

    def table_ready(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The table of the run is there."""
        self._tell(lambda tracker: tracker.table_ready(deepcopy(list(rows))))

    def close(self) -> None:
        """The run is over, whatever happened; trackers that failed let go of what they hold, too."""
        failed = self._all.keys() - self._trackers.keys()
        self._trackers = self._all
        self._tell(lambda tracker: tracker.close(), quiet=failed)

    def _tell(self, call: Callable[[Tracker], object], quiet: frozenset[str] | set[str] = frozenset()) -> None:
        for name, tracker in list(self._trackers.items()):
            with _same_folder():
                try:
                    call(tracker)
                except (Exception, SystemExit) as error:
                    self._trackers = {other: t for other, t in self._trackers.items() if other != name}
                    if name not in quiet:
                        self.inner.warn(f"tracker {name} failed and is left out from here on: {_said(error)}")


@contextlib.contextmanager
def followed(plan: Plan, registry: Registry, reporter: Reporter, folder: Path) -> Iterator[Followed]:
    """A reporter that tells the trackers of a plan what happens, until the block is left.

    Raises
    ------
    UsageError, MissingError
        A tracker says that it was asked for something that cannot be, or that what it needs is not installed. Any other
        failure is warned of.
    """
    trackers = {}
    for ref in plan.trackers:
        with _same_folder():
            try:
                trackers[ref.text] = registry.create("tracker", ref)
            except (UsageError, MissingError):
                raise
            except (Exception, SystemExit) as error:
                reporter.warn(f"tracker {ref} cannot be made, and the run goes on without it: {_said(error)}")
    following = Followed(reporter, trackers, plan, folder)
    try:
        yield following
    finally:
        following.close()


@contextlib.contextmanager
def _same_folder() -> Iterator[None]:
    """Come back to the working directory."""
    before = os.getcwd()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is gone, which the run will say
            os.chdir(before)


def _said(error: BaseException) -> str:
    first = str(error).strip().splitlines()
    if isinstance(error, XcoreError):
        return str(error)
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
