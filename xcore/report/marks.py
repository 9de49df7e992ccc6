"""Marked texts in a terminal: colour and underline, or brackets where there is no colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.marked import Listed, MarkedText, headline, visible
from xcore.report.table import Shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LIMIT = 700
"""Characters shown of a text."""
FOR, AGAINST = "bold underline cyan", "bold underline yellow"


def print_marked(shown: Shown, texts: int, console: Console) -> None:
    """Print the first texts, each with its marks and their lists, then the lists of all concepts.

    Without colours a marked word is set as ``[+word]`` (it speaks for the class) or ``[-word]`` (against it). Texts
    are never read as rich's markup.
    """
    from rich.padding import Padding
    from rich.text import Text

    marked, target = shown.marked, visible(shown.marked.target)
    bare = console.no_color or console.color_system is None
    head = f" {shown.label}, seed {shown.seed} · words that name concepts, in {marked.found} of {marked.of} texts"
    console.print(Text(head, style="bold"))
    console.print(
        Text.assemble("   ", _word("for", 1, bare), " ", _word("against", -1, bare), f" {target}", style="dim")
    )
    for text in marked.texts[:texts]:
        console.print()
        about = "" if text.probability is None else f" · {target} {text.probability:.2f}"
        console.print(Text(f" {visible(text.id)}{about}", style="dim"))
        console.print(Padding(_body(text, bare), (0, 0, 0, 3)))
        for entry in text.lists:
            line = Text.assemble((f"{_sign(entry.strength)} ", "dim"), _list(entry))
            console.print(Padding(line, (0, 0, 0, 5)))
    console.print()
    console.print(Text(f" {headline(marked)}", style="dim"))
    for entry in marked.concepts:
        line = Text.assemble((f"{entry.strength:+.2f} ", "dim"), _list(entry))
        console.print(Padding(line, (0, 0, 0, 3)))
    console.print()


def _body(text: MarkedText, bare: bool) -> Text:
    from rich.text import Text

    parts = [piece if mark is None else _word(piece, mark.strength, bare) for piece, mark in text.pieces(LIMIT)]
    return Text.assemble(*parts) if parts else Text("(no text)", style="dim")


def _list(entry: Listed) -> Text:
    """The concept's list; the name is coloured as where it is marked."""
    from rich.text import Text

    return Text.assemble(_word(entry.name, entry.strength, bare=False), entry.line.removeprefix(entry.name))


def _word(word: str, strength: float, bare: bool) -> Text:
    from rich.text import Text

    style = AGAINST if strength < 0 else FOR
    return Text(f"[{_sign(strength)}{word}]" if bare else word, style=style)


def _sign(strength: float) -> str:
    return "-" if strength < 0 else "+"
