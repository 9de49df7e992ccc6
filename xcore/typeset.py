"""Marked texts as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcore.marked import Listed, Mark, Marked, headline

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

WIDTH = 960
"""Pixels, margins included."""
MARGIN = 24
SHOWN = 5
"""Texts in a picture."""
LIMIT = 600
"""Characters shown of a text."""
BODY, SMALL = 18, 14
"""Sizes of the letters in pixels."""
FONT = "DejaVuSans.ttf"
"""Has more scripts than the font that Pillow brings, which is taken where this one is missing."""
FOR, AGAINST = (31, 119, 180), (214, 110, 0)
"""Blue and orange, which colour-blind people tell apart; the line below the word (solid, dashed) says the same."""
INK, GREY, RULE = (20, 20, 20), (105, 105, 105), (222, 222, 222)


Colour = tuple[int, int, int]
Piece = tuple[str, Mark | None, Colour]
"""A stretch of a line, with its white space."""


@dataclass(frozen=True)
class _Word:
    """What is drawn in one go; no line breaks inside."""

    text: str
    mark: Mark | None
    colour: Colour
    space: bool
    """White space stands before it."""


class _Page:
    """Lines of words from top to bottom; without something to draw on, it measures."""

    def __init__(self, draw: ImageDraw.ImageDraw | None) -> None:
        self.draw = draw
        self.top = MARGIN

    def rule(self) -> None:
        if self.draw:
            self.draw.line([(MARGIN, self.top + 8), (WIDTH - MARGIN, self.top + 8)], fill=RULE)
        self.top += 18

    def paragraph(self, pieces: Sequence[Piece], size: int, indent: int = 0) -> None:
        """Words from the left margin on, wrapped at the right one; a word too long for a line is cut into parts."""
        font = _font(size)
        left, right = MARGIN + indent, WIDTH - MARGIN
        at, before = float(left), None
        for word in _words(pieces):
            for part in _parts(word, font, right - left):
                width = _length(part.text, font)
                step = font.getlength(" ") if part.space and at > left else 0
                room = right if part.space else right + MARGIN // 2  # a comma stays at its word
                if at > left and at + step + width > room:
                    self.top += round(size * 1.5)
                    at, step = float(left), 0
                if self.draw:
                    inside = step if part.mark is not None and part.mark is before else 0  # the gaps of a phrase
                    _draw(self.draw, part, (at + step, self.top), width, inside, font)
                at, before = at + step + width, part.mark
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
    if word.mark is not None:
        colour = AGAINST if word.mark.strength < 0 else FOR
        share = 0.12 + 0.38 * word.mark.weight
        back = tuple(round(255 * (1 - share) + c * share) for c in colour)
        begin, end = round(left - inside) - 1, round(left + width) + 1
        draw.rectangle([begin, top, end, bottom], fill=back)
        dash, gap = (5, 3) if word.mark.strength < 0 else (end - begin, 1)
        for start in range(begin, end, dash + gap):
            draw.line([(start, bottom), (min(start + dash, end), bottom)], fill=colour, width=2)
    draw.text((left, top + 1), _printable(word.text, font), fill=word.colour, font=font)


def typeset(found: Marked) -> Image.Image:
    """The first texts with their marks and lists, and below them the lists of all concepts."""
    from PIL import Image, ImageDraw

    measured = _Page(None)
    _fill(measured, found)
    picture = Image.new("RGB", (WIDTH, measured.top + MARGIN), "white")
    _fill(_Page(ImageDraw.Draw(picture)), found)
    return picture


def _fill(page: _Page, found: Marked) -> None:
    page.paragraph(_said(f"Words that name concepts of the class {found.target}"), BODY)
    speaks = [*_said("A marked word speaks ", GREY), _marked("for", 1.0, 0.8), *_said(" or ", GREY)]
    speaks += [_marked("against", -1.0, 0.8), *_said(f" the class. {found.found} of {found.of} texts have one.", GREY)]
    page.paragraph(speaks, SMALL)
    for text in found.texts[:SHOWN]:
        page.rule()
        about = text.id if text.probability is None else f"{text.id} · {found.target} {text.probability:.2f}"
        page.paragraph(_said(about, GREY), SMALL)
        page.paragraph([(*piece, INK) for piece in text.pieces(LIMIT)] or _said("(no text)", GREY), BODY)
        for entry in text.lists:
            page.paragraph(_line(entry), SMALL, indent=20)
    if found.concepts:
        page.rule()
        page.paragraph(_said(headline(found), GREY), SMALL)
        for entry in found.concepts:
            page.paragraph([*_said(f"{entry.strength:+.2f} ", GREY), *_line(entry)], SMALL)


def _line(entry: Listed) -> list[Piece]:
    """The name, marked, and its words."""
    words = _said(f": {', '.join(entry.words)}") if entry.words else []
    return [_marked(entry.name, entry.strength, 0.5), *words]


def _said(text: str, colour: Colour = INK) -> list[Piece]:
    return [(text, None, colour)]


def _marked(text: str, strength: float, weight: float) -> Piece:
    return text, Mark(0, len(text), 0, strength, weight), INK


def _words(pieces: Sequence[Piece]) -> Iterator[_Word]:
    """The words of a line; pieces that touch one another stay together."""
    space = False
    for text, mark, colour in pieces:
        for i, word in enumerate(text.split()):
            yield _Word(word, mark, colour, i > 0 or space or text[:1].isspace())
            space = False
        space = text[-1:].isspace() or (space and not text.strip())


def _parts(word: _Word, font: ImageFont.FreeTypeFont, room: int) -> Iterator[_Word]:
    """The word in parts that fit into a line; most words are one."""
    rest, space = word.text, word.space
    while rest:
        size = len(rest)
        while size > 1 and _length(rest[:size], font) > room:
            size = min(size - 1, int(size * room / _length(rest[:size], font)) + 1)
        yield _Word(rest[:size], word.mark, word.colour, space)
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
    """The text with what Pillow's own font has no letters for replaced."""
    return text if "DejaVu" in (font.getname()[0] or "") else text.encode("latin-1", "replace").decode("latin-1")
