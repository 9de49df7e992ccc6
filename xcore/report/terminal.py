"""The table in a terminal: as wide as it allows, plain text where the output is no terminal."""

from __future__ import annotations

import io
import sys
from typing import IO, TYPE_CHECKING

from xcore.report.layout import CONCEPT, Grid, Line, grids
from xcore.report.marks import print_marked
from xcore.report.table import Table

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
UNLIMITED = 10_000
"""Columns of an output that is no terminal."""


def show(table: Table, file: IO[str] | None = None, width: int | None = None, texts: int = 0) -> None:
    """Print the table.

    Parameters
    ----------
    table
        The table.
    file
        Where to; stdout if not given. No terminal: no colour and no limit of the width.
    width
        Width to fit into, for tests and notebooks; default: that of the terminal. Columns that do not fit are printed
        below, beside the same concepts: nothing is cut.
    texts
        So many texts of each explanation of text are printed below, with their words marked.
    """
    from rich.console import Console

    stream = file or sys.stdout
    plain = not stream.isatty()
    console = Console(
        file=io.StringIO() if plain else stream,
        width=width or (UNLIMITED if plain else None),
        highlight=False,
        no_color=True if plain else None,
    )
    for grid, section in zip(grids(table), table.sections, strict=True):
        for part in _parts(grid, console.width):
            _print(part, console)
        _notes(grid.notes, console)
        for shown in section.marked if texts else ():
            print_marked(shown, texts, console)
    _notes(table.notes, console)
    if isinstance(console.file, io.StringIO):
        stream.write("".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines()))


def _parts(grid: Grid, width: int) -> list[Grid]:
    """The grid cut into blocks of columns that fit, each with method and concept before them."""
    sizes = _sizes(grid)
    fixed = min(sizes[0], width // 4) + min(sizes[1], CONCEPT, max(width // 3, 12)) + 3 * GAP
    blocks: list[list[int]] = [[]]
    used = fixed
    for i in range(2, len(sizes)):
        if blocks[-1] and used + sizes[i] + GAP > width:
            blocks.append([])
            used = fixed
        blocks[-1].append(i)
        used += sizes[i] + GAP
    if len(blocks) == 1:
        return [grid]
    parts = []
    for number, block in enumerate(blocks):
        pick = [0, 1, *block]
        lines = [x for x in grid.lines if number == 0 or not x.lost]
        cut = tuple(Line(tuple(x.cells[i] for i in pick), x.dim, x.lost) for x in lines)
        parts.append(Grid(grid.title if number == 0 else "", tuple(grid.head[i] for i in pick), cut, grid.notes))
    return parts


def _sizes(grid: Grid) -> list[int]:
    return [max(map(len, column)) for column in zip(grid.head, *(x.cells for x in grid.lines), strict=True)]


def _print(grid: Grid, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    if grid.title:
        console.print(Text(f" {grid.title}", style="bold"))
    sizes = _sizes(grid)
    view = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
    for i, name in enumerate(grid.head):
        if i < 2:
            view.add_column(Text(name), max_width=CONCEPT if i else None, overflow="fold", ratio=None)
        else:
            view.add_column(Text(name.rjust(sizes[i])), no_wrap=True)
    for line in grid.lines:
        style = "red" if line.lost else "dim" if line.dim else ""
        # Padded here, since rich's own justification to the right would strip the padding that aligns the marks.
        cells = (cell.rjust(sizes[i]) if i > 1 else cell for i, cell in enumerate(line.cells))
        view.add_row(*map(Text, cells), style=style)
    console.print(view)


def _notes(notes: tuple[str, ...], console: Console) -> None:
    from rich.text import Text

    for note in notes:
        console.print(Text(f" {note}", style="dim"))
    if notes:
        console.print()
