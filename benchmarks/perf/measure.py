"""What every comparison of speed measures, in the same way for ours, for a peer and for the floor.

A *way* is one way to do something. `Ways.run` runs it and keeps its processor and wall seconds, the rows that passed
through networks (one picture is one row, however large the batch was) and the most memory that the process held
meanwhile. `Ways.table` prints all of them beside one another.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isnan, nan
from statistics import median
from typing import Any, TypeVar

import torch
from figures import forget_peak
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from xcore.base.memory import peak_mb

T = TypeVar("T")
Named = Callable[[nn.Module], str]
"""What the rows that enter a module are counted as; empty for modules that are not counted."""


def pictures(module: nn.Module) -> str:
    """Pictures are counted where they enter a network: at a convolution that reads three colours."""
    return "pictures" if isinstance(module, nn.Conv2d) and module.in_channels == 3 else ""


def of(parts: Mapping[str, nn.Module]) -> Named:
    """Rows are counted where they enter one of these modules, under its name here."""
    names = {id(module): name for name, module in parts.items()}
    return lambda module: names.get(id(module), "")


@contextmanager
def counted(named: Named = pictures) -> Iterator[Counter[str]]:
    """Counts the rows of the first argument that enter the named modules, whoever calls them."""
    rows: Counter[str] = Counter()

    def hook(module: nn.Module, given: Any) -> None:
        if (name := named(module)) and given and isinstance(given[0], torch.Tensor):
            rows[name] += len(given[0])

    handle = register_module_forward_pre_hook(hook)
    try:
        yield rows
    finally:
        handle.remove()


@dataclass
class Spent:
    """Of one way: seconds of each run, rows of the last one by name, and the largest memory of any in MB."""

    processor: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    memory: float = nan

    @contextmanager
    def measured(self, named: Named = pictures) -> Iterator[None]:
        """Measures the block as one run."""
        told = forget_peak()
        processor, wall = time.process_time(), time.perf_counter()
        with counted(named) as rows:
            yield
        self.processor.append(time.process_time() - processor)
        self.wall.append(time.perf_counter() - wall)
        self.rows = dict(rows)
        if told:
            self.memory = max(peak_mb(), 0.0 if isnan(self.memory) else self.memory)

    @property
    def columns(self) -> str:
        """Rows and memory as the last two columns of a table."""
        rows = ", ".join(f"{n} {name}" for name, n in self.rows.items() if n)
        return f"{rows} | {'' if isnan(self.memory) else f'{self.memory:.0f}'}"


class Ways:
    """Several ways to do the same, and what each of them costs."""

    def __init__(self, named: Named = pictures) -> None:
        self.named = named
        self.spent: dict[str, Spent] = {}

    def run(self, name: str, function: Callable[[], T]) -> T:
        """What the function returns; its cost is added to that of the way."""
        with self.spent.setdefault(name, Spent()).measured(self.named):
            return function()

    def seconds(self, name: str) -> float:
        """The median of the processor seconds of a way; nan if it was not run."""
        return median(self.spent[name].processor) if name in self.spent else nan

    def table(self, base: str = "ours", more: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Print what each way costs, with further columns: heading -> way -> what is told."""
        extra = more or {}
        heads = ["way", "processor s", "wall s", f"times {base}", "rows through networks", "peak MB", *extra]
        print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
        for name, spent in self.spent.items():
            seconds = f"{self.seconds(name):.2f} | {median(spent.wall):.2f}"
            told = "".join(f" {column.get(name, '')} |" for column in extra.values())
            print(f"| {name} | {seconds} | {self.seconds(name) / self.seconds(base):.2f} | {spent.columns} |{told}")
