"""The engine that runs cells where no other is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from xcore.contract.types import Cell, Outcome


class InProcess:
    """The default engine: one cell after another, here."""

    def run(self, cells: Iterable[Cell], work: Callable[[Cell], Outcome]) -> Iterator[Outcome]:
        for cell in cells:
            yield work(cell)
