"""The engine that runs cells where no other is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xcore.contract.protocols import Work
from xcore.contract.types import Cell, Outcome


class InProcess:
    """The default engine: one cell after another, here."""

    def __init__(self, options: object = None) -> None: ...

    def run(self, cells: Iterable[Cell], work: Work) -> Iterator[Outcome]:
        """Run the cells in their order."""
        for cell in cells:
            yield work(cell)
