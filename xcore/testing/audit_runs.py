"""Runs for an audit: explanations that a method or a truth table gives of classifiers, with all that metrics need."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from xcore.contract.protocols import Dataset, Run, Task
from xcore.contract.types import Budget, Cell, Explanation, Ref, Truth
from xcore.registry import load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

SAMPLES = 24
"""Explained samples, and held-out ones, of each class: enough to tell explanations apart, few enough to be quick."""


NO_HELPERS = ("classifier", "generator", "contrast")


class KeptData:
    """A data set that gives samples which it gave before without drawing them anew: a case asks for them many times."""

    def __init__(self, inner: Dataset) -> None:
        self._inner = inner
        self.samples = lru_cache(inner.samples)
        self.concept = lru_cache(inner.concept)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def kept(run: Run) -> Run:
    """The run with data that are drawn once."""
    return replace(run, task=replace(run.task, data=KeptData(run.task.data)))


class Bench:
    """Makes runs of components by their names, with the helper models that the data set names.

    Parameters
    ----------
    folder
        Keeps what methods share; None = a temporary folder.
    samples
        Explained samples of each class, and held-out ones.
    """

    def __init__(self, folder: Path | None = None, samples: int = SAMPLES) -> None:
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self.workbench = Workbench(load_registry(), Store(self.folder))
        self.samples = samples

    def cell(self, data: str, cls: str, method: str = "tcav", options: Mapping[str, Any] | None = None) -> Cell:
        """One explanation of a class of the default classifier of a data set."""
        ref = Ref(data)
        defaults = self.workbench.dataset(ref).defaults
        roles = {
            role: Ref(name) for role, name in defaults.items() if role not in ("classifier", "generator", "contrast")
        }
        return Cell(
            label=method,
            method=Ref(method, options or {}),
            classifier=Ref(defaults["classifier"]),
            data=ref,
            cls=cls,
            seed=0,
            models=roles,
            budget=Budget(self.samples, self.samples),
        )

    def truth(self, cell: Cell) -> Truth:
        """What the classifier of a cell is known to use."""
        truth = self.workbench.truth(cell)
        if truth is None:
            raise ValueError(f"it is not known what {cell.classifier} uses")
        return truth

    def task(self, cell: Cell) -> Task:
        """What a method is given."""
        workdir = self.folder / "work"
        workdir.mkdir(parents=True, exist_ok=True)
        return self.workbench.task(cell, workdir, lambda step, total, note="": None)

    def run(self, cell: Cell, explain: Callable[[Task, Truth], Explanation] | None = None) -> Run:
        """The explanation of a cell by its method, or by a function of the task and of the truth."""
        task = self.task(cell)
        if explain is not None:
            truth = self.truth(cell)
            return replace(kept(self.workbench.run(cell, explain(task, truth))), truth=truth)
        explanation = self.workbench.component("explainer", cell.method).explain(task)
        return kept(self.workbench.run(cell, explanation))
