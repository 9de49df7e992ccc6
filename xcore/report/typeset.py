"""Highlighted texts as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcore.report.highlighted import Highlight, HighlightedTexts, WordList, headline

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

WIDTH = 960
"""Pixels, margins included."""
MARGIN = 24
SHOWN = 5
"""Texts in a picture."""
LIMIT = 600
"""Characters shown of each text."""
BODY, SMALL = 18, 14
"""Font sizes in pixels."""
FONT = "DejaVuSans.ttf"
"""It covers more scripts than the font that Pillow brings, which is used where this one is not installed."""
FOR, AGAINST = (31, 119, 180), (214, 110, 0)
"""Blue and orange, which colour-blind people can tell apart; the line below the word is solid or dashed as well."""
INK, GREY, RULE = (20, 20, 20), (105, 105, 105), (222, 222, 222)

Colour = tuple[int, int, int]
Piece = tuple[str, Highlight | None, Colour]
"""A part of a paragraph with its white space, its highlight if it has one, and the colour of its letters."""


@dataclass(frozen=True)
class _Word:
    """What is drawn in one go, without a line break inside."""

    text: str
    highlight: Highlight | None
    colour: Colour
    space: bool
    """White space stands before it."""


class _Page:
    """Draws lines of words from top to bottom; without `draw` it only measures how high they are."""

    def __init__(self, draw: ImageDraw.ImageDraw | None) -> None:
        self.draw = draw
        self.top = MARGIN

    def rule(self) -> None:
        if self.draw:
            self.draw.line([(MARGIN, self.top + 8), (WIDTH - MARGIN, self.top + 8)], fill=RULE)
        self.top += 18

    def paragraph(self, pieces: Sequence[Piece], size: int, indent: int = 0) -> None:
        """Set words from the left margin on and wrap them at the right one; a word longer than a line is cut."""
        font = _font(size)
        left, right = MARGIN + indent, WIDTH - MARGIN
        at, before = float(left), None
        for word in _words(pieces):
            for part in _parts(word, font, right - left):
                width = _length(part.text, font)
                step = font.getlength(" ") if part.space and at > left else 0
                room = right if part.space else right + MARGIN // 2  # a comma may stand in the margin, beside its word
                if at > left and at + step + width > room:
                    self.top += round(size * 1.5)
                    at, step = float(left), 0
                if self.draw:
                    same = part.highlight is not None and part.highlight is before
                    inside = step if same else 0  # the gap between two words of a phrase is highlighted too
                    _draw(self.draw, part, (at + step, self.top), width, inside, font)
                at, before = at + step + width, part.highlight
        self.top += round(size * 1.5)


def _draw(
    draw: ImageDraw.ImageDraw,
    word: _Word,
    place: tuple[float, int],
    width: float,
    inside: float,
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top = place
    bottom = top + round(font.size * 1.25)
    if word.highlight is not None:
        colour = AGAINST if word.highlight.strength < 0 else FOR
        share = 0.12 + 0.38 * word.highlight.weight
        back = tuple(round(255 * (1 - share) + c * share) for c in colour)
        begin, end = round(left - inside) - 1, round(left + width) + 1
        draw.rectangle([begin, top, end, bottom], fill=back)
        dash, gap = (5, 3) if word.highlight.strength < 0 else (end - begin, 1)
        for start in range(begin, end, dash + gap):
            draw.line([(start, bottom), (min(start + dash, end), bottom)], fill=colour, width=2)
    draw.text((left, top + 1), _printable(word.text, font), fill=word.colour, font=font)


def typeset(found: HighlightedTexts) -> Image.Image:
    """Draw the first `SHOWN` texts with their highlights and lists, and below them the list of all concepts."""
    from PIL import Image, ImageDraw

    measured = _Page(None)
    _fill(measured, found)
    picture = Image.new("RGB", (WIDTH, measured.top + MARGIN), "white")
    _fill(_Page(ImageDraw.Draw(picture)), found)
    return picture


def _fill(page: _Page, found: HighlightedTexts) -> None:
    page.paragraph(_plain(f"Words that name concepts of the class {found.target}"), BODY)
    speaks = [*_plain("A highlighted word speaks ", GREY), _highlighted("for", 1.0, 0.8), *_plain(" or ", GREY)]
    count = f"{found.found} of {found.of} texts have one."
    speaks += [_highlighted("against", -1.0, 0.8), *_plain(f" the class. {count}", GREY)]
    page.paragraph(speaks, SMALL)
    for text in found.texts[:SHOWN]:
        page.rule()
        about = text.id if text.probability is None else f"{text.id} · {found.target} {text.probability:.2f}"
        page.paragraph(_plain(about, GREY), SMALL)
        page.paragraph([(*piece, INK) for piece in text.pieces(LIMIT)] or _plain("(no text)", GREY), BODY)
        for entry in text.lists:
            page.paragraph(_line(entry), SMALL, indent=20)
    if found.concepts:
        page.rule()
        page.paragraph(_plain(headline(found), GREY), SMALL)
        for entry in found.concepts:
            page.paragraph([*_plain(f"{entry.strength:+.2f} ", GREY), *_line(entry)], SMALL)


def _line(entry: WordList) -> list[Piece]:
    """The highlighted name of a concept, and its words."""
    words = _plain(f": {', '.join(entry.words)}") if entry.words else []
    return [_highlighted(entry.name, entry.strength, 0.5), *words]


def _plain(text: str, colour: Colour = INK) -> list[Piece]:
    return [(text, None, colour)]


def _highlighted(text: str, strength: float, weight: float) -> Piece:
    return text, Highlight(0, len(text), 0, strength, weight), INK


def _words(pieces: Sequence[Piece]) -> Iterator[_Word]:
    """The words of a paragraph; where no white space stands between two pieces, no line breaks between them."""
    space = False
    for text, highlight, colour in pieces:
        for i, word in enumerate(text.split()):
            yield _Word(word, highlight, colour, i > 0 or space or text[:1].isspace())
            space = False
        space = text[-1:].isspace() or (space and not text.strip())


def _parts(word: _Word, font: ImageFont.FreeTypeFont, room: int) -> Iterator[_Word]:
    """Cut a word into parts that fit into a line; most words are a single part."""
    rest, space = word.text, word.space
    while rest:
        size = len(rest)
        while size > 1 and _length(rest[:size], font) > room:
            size = min(size - 1, int(size * room / _length(rest[:size], font)) + 1)
        yield _Word(rest[:size], word.highlight, word.colour, space)
        rest, space = rest[size:], False


def _length(text: str, font: ImageFont.FreeTypeFont) -> float:
    return font.getlength(_printable(text, font))


def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(FONT, size)
    except OSError:
        return ImageFont.load_default(size)  # type: ignore[return-value]


def _printable(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text, with "?" for letters that Pillow's own font does not have."""
    return text if "DejaVu" in (font.getname()[0] or "") else text.encode("latin-1", "replace").decode("latin-1")
