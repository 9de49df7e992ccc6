"""What the commands work on: components that the flags name, as a recipe of a translator or as tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xcore.errors import MissingError, UsageError
from xcore.progress import Bars, Reporter
from xcore.protocols import Task
from xcore.store import slug
from xcore.task import TrainingData, Workbench
from xcore.types import Cell
from xcore_texplain.features import open_probe
from xcore_texplain.texplain import TExplain
from xcore_texplain.trained import Recipe

ROLE = "text-decoder"


@dataclass(frozen=True, eq=False)
class Opened:
    """The cells of the classes that were asked for, and what makes their components."""

    cells: Sequence[Cell]
    bench: Workbench
    reporter: Reporter

    def recipe(self) -> Recipe:
        """How to make the translator; a class is no part of it, so data and classifier need not share any."""
        cell, bench = self.cells[0], self.bench
        o = self._explainer(cell).options
        if ROLE not in cell.models:
            raise MissingError(f"no model for the role {ROLE!r}", f"name one with --model {ROLE}=REF")
        draws = o.features == "generator"
        generator = bench.component("generator", cell.generator) if draws and cell.generator else None
        probe, layer = open_probe(o, bench.classifier(cell), bench.layer(cell), generator)
        data = TrainingData(bench.dataset(cell.data))
        height, width = data.samples(None, "train", 1, o.seed).images.shape[-2:]
        told = _Training(self.reporter, f"training at {layer}", o.every)
        return Recipe(data, (height, width), probe, layer, bench.component("model", cell.models[ROLE]), o, told)

    def tasks(self, out: Path) -> Iterator[tuple[Path, Task, TExplain]]:
        """For each class its folder, its task and its explainer."""
        for cell in self.cells:
            explainer = self._explainer(cell)
            self.bench.check(cell)
            self.reporter.begin_cell(cell)
            folder = out / slug(cell.cls) if len(self.cells) > 1 else out
            yield folder, self.bench.task(cell, folder, self._step), explainer

    def _explainer(self, cell: Cell) -> TExplain:
        if (kind := self.bench.dataset(cell.data).kind) != "image":
            raise UsageError(f"texplain reads images, and data set {cell.data} is {kind}", "name another with --data")
        if (kind := self.bench.classifier(cell).kind) != "image":
            hint = "name another with --classifier"
            raise UsageError(f"texplain reads images, and classifier {cell.classifier} reads {kind}", hint)
        made: TExplain = self.bench.registry.create("explainer", cell.method)
        return made

    def _step(self, step: int, total: int, note: str = "") -> None:
        self.reporter.step(step, total, note)


class _Training:
    """How far a training is: a bar on a terminal; elsewhere a line at the start, at every look and at the end."""

    def __init__(self, reporter: Reporter, what: str, every: int) -> None:
        self._reporter, self._what, self._every = reporter, what, every
        self._begun = False
        reporter.note(what)  # models and pairs are read before the first step

    def __call__(self, step: int, total: int, note: str = "") -> None:
        self._reporter.step(step, total, note)
        if isinstance(self._reporter, Bars):
            return
        if not self._begun or step % self._every == 0 or step == total:
            self._reporter.warn(f"{self._what}: step {step}/{total}  {note}")
        self._begun = True
