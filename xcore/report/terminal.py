"""The table and the highlighted texts in a terminal: colours and its width; plain text if the output is no terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from xcore.base.streams import for_drawing, harmless, holds_all, printable
from xcore.report.concepts import concept_grids
from xcore.report.highlighted import HighlightedText, WordList, headline, visible
from xcore.report.layout import CONCEPT, Grid, Line, grids
from xcore.report.table import CellTexts, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GAP = 2
"""Spaces between two columns."""
UNLIMITED = 10_000
"""The width of an output that is no terminal."""
LIMIT = 700
"""Characters shown of each text."""
FOR, AGAINST = "bold underline cyan", "bold underline yellow"


def show(table: Table, file: IO[str] | None = None, width: int | None = None, texts: int = 0) -> None:
    """Print the table.

    Parameters
    ----------
    table
        The table.
    file
        Where to print; default: stdout. If it is not a terminal, there are no colours, and the width has no limit.
    width
        Width in characters, for tests and notebooks; default: that of the terminal. Columns that do not fit are printed
        below the others, beside the same concepts, so that nothing is cut off.
    texts
        How many texts of each explanation of text to print below its section, with highlighted words.
    """
    with _printing(file, width) as console:
        for grid, section in zip(grids(table), table.sections, strict=True):
            _print_grid(grid, console)
            for cell in section.highlighted if texts else ():
                print_highlighted(cell, texts, console)
        _notes(table.notes, console)


def show_concepts(
    table: Table,
    rows: Iterable[Mapping[str, Any]],
    file: IO[str] | None = None,
    width: int | None = None,
    texts: int = 0,
) -> None:
    """Print the concepts of the explanations of a run of one method and one seed, with importance and evidence.

    Parameters
    ----------
    table, rows
        The table of the run, and the rows that it was built from.
    file, width, texts
        As for `show`.
    """
    with _printing(file, width) as console:
        for grid, section in zip(concept_grids(table, rows), table.sections, strict=True):
            _print_grid(grid, console)
            for cell in section.highlighted if texts else ():
                print_highlighted(cell, texts, console, lists=False)
        _notes(table.notes, console)


def show_grid(grid: Grid, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print one grid, such as `xcore.report.concepts.explanation_grid`; `file` and `width` as for `show`."""
    with _printing(file, width) as console:
        _print_grid(grid, console)


class _Lines(io.StringIO):
    """Text for a stream of this encoding, which tells rich whether it may draw lines of a table."""

    def __init__(self, encoding: str | None) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str | None:  # type: ignore[override]
        return self._encoding


@contextmanager
def _printing(file: IO[str] | None, width: int | None) -> Iterator[Console]:
    """A console of this file; what is no terminal gets plain lines without spaces at their ends."""
    from rich.console import Console

    stream = file or sys.stdout
    plain = not stream.isatty()
    console = Console(
        file=_Lines(getattr(stream, "encoding", None)) if plain else for_drawing(stream),
        width=width or (UNLIMITED if plain else None),
        highlight=False,
        no_color=True if plain else None,
    )
    yield console
    if isinstance(console.file, io.StringIO):
        stream.write("".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines()))


def _print_grid(grid: Grid, console: Console) -> None:
    grid = _printable(grid, "utf-8" if holds_all(console.encoding) else console.encoding)
    for part in _parts(grid, console.width):
        _print(part, console)
    _notes(grid.notes, console)


def _printable(grid: Grid, encoding: str) -> Grid:
    """The grid as a terminal may have it: before it is laid out, since what stands for a character may be longer."""

    def shown(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(printable(harmless(text), encoding) for text in texts)

    lines = tuple(replace(x, cells=shown(x.cells)) for x in grid.lines)
    title, *notes = shown([grid.title, *grid.notes])
    return Grid(title, shown(grid.head), lines, tuple(notes))


def _parts(grid: Grid, width: int) -> list[Grid]:
    """Cut the grid into blocks of columns that fit the width, each with method and concept as its first columns."""
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
        lines = [x for x in grid.lines if number == 0 or not x.unfinished]
        cut = tuple(Line(tuple(x.cells[i] for i in pick), x.dim, x.unfinished) for x in lines)
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
        style = "red" if line.unfinished else "dim" if line.dim else ""
        # Padded here, because rich would strip the padding that aligns the asterisks if it justified to the right.
        cells = (cell.rjust(sizes[i]) if i > 1 else cell for i, cell in enumerate(line.cells))
        view.add_row(*map(Text, cells), style=style)
    console.print(view)


def _notes(notes: tuple[str, ...], console: Console) -> None:
    from rich.text import Text

    for note in notes:
        console.print(Text(f" {harmless(note)}", style="dim"))
    if notes:
        console.print()


def print_highlighted(cell: CellTexts, texts: int, console: Console, lists: bool = True) -> None:
    """Print the first texts of one cell, each with its highlights and their lists, then the list of all concepts.

    Without colours, a highlighted word is printed as ``[+word]`` if it speaks for the class and as ``[-word]`` if it
    speaks against it. Nothing in the texts is read as rich's markup.

    Parameters
    ----------
    cell
        The texts of one method and seed.
    texts
        How many texts to print.
    console
        Where to print.
    lists
        Whether the list of all concepts follows.
    """
    from rich.padding import Padding
    from rich.text import Text

    found, target = cell.highlighted, visible(cell.highlighted.target)
    bare = console.no_color or console.color_system is None
    head = f" {cell.label}, seed {cell.seed} · {found.found} of {found.of} texts name a concept"
    console.print(Text(head, style="bold"))
    signs = _word("for", 1, bare), " or ", _word("against", -1, bare), f" the class {target}"
    console.print(Text.assemble("   ", *signs, style="dim"))
    for text in found.texts[:texts]:
        console.print()
        about = "" if text.probability is None else f" · {target} {text.probability:.2f}"
        console.print(Text(f" {visible(text.id)}{about}", style="dim"))
        console.print(Padding(_body(text, bare), (0, 0, 0, 3)))
        for entry in text.lists:
            line = Text.assemble((f"{_sign(entry.strength)} ", "dim"), _list(entry))
            console.print(Padding(line, (0, 0, 0, 5)))
    console.print()
    if not lists:
        return
    console.print(Text(f" {headline(found)}", style="dim"))
    for entry in found.concepts:
        line = Text.assemble((f"{entry.strength:+.2f} ", "dim"), _list(entry))
        console.print(Padding(line, (0, 0, 0, 3)))
    console.print()


def _body(text: HighlightedText, bare: bool) -> Text:
    from rich.text import Text

    parts = [
        harmless(piece) if place is None else _word(piece, place.strength, bare) for piece, place in text.pieces(LIMIT)
    ]
    return Text.assemble(*parts) if parts else Text("(no text)", style="dim")


def _list(entry: WordList) -> Text:
    """The concept's list, its name in the colour that it has in the texts."""
    from rich.text import Text

    return Text.assemble(_word(entry.name, entry.strength, bare=False), harmless(entry.line.removeprefix(entry.name)))


def _word(word: str, strength: float, bare: bool) -> Text:
    from rich.text import Text

    style = AGAINST if strength < 0 else FOR
    word = harmless(word)
    return Text(f"[{_sign(strength)}{word}]" if bare else word, style=style)


def _sign(strength: float) -> str:
    return "-" if strength < 0 else "+"
