"""Strips of pictures with words beside and below them, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

SIDE, GAP, LINE, LETTER = 84, 4, 13, 6
"""Height of a picture, distance between two, height of a line, and width of a letter, in pixels."""
BLUE, ORANGE, INK = "#2b6cb0", "#c05621", "#1a202c"


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture (3, H, W) in [0, 1], and the words below it; None leaves the place free."""

    picture: Tensor | None
    below: str = ""
    colour: str = INK


@dataclass(frozen=True, eq=False)
class Strip:
    """Pictures beside one another, and lines of words left of them."""

    lines: tuple[str, ...]
    tiles: tuple[Tile, ...]


def draw(path: Path, title: str, strips: Sequence[Strip], heads: Sequence[str] = ()) -> None:
    """Draw strips below one another.

    Parameters
    ----------
    heads
        Words above the columns of pictures; none = no words.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(11)
    shown = [t.picture for s in strips for t in s.tiles if t.picture is not None]
    width = GAP + (max(round(SIDE * p.shape[2] / p.shape[1]) for p in shown) if shown else SIDE)
    lines = [line for s in strips for line in s.lines]
    left = 2 * GAP + LETTER * min(44, max(map(len, lines), default=0))
    columns = max((len(s.tiles) for s in strips), default=0)
    top = LINE + 2 * GAP + (LINE if heads else 0)
    height = SIDE + LINE + GAP
    size = (max(left + width * columns + GAP, LETTER * len(title) + 2 * GAP), top + height * len(strips) + GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)

    def write(x: int, y: int, text: str, colour: str = INK) -> None:
        pen.text((x, y), text.encode("latin-1", "replace").decode("latin-1"), fill=colour, font=font)

    write(GAP, GAP, title)
    for i, head in enumerate(heads):
        write(left + i * width, GAP + LINE, head)
    for r, strip in enumerate(strips):
        y = top + r * height
        for i, line in enumerate(strip.lines):
            write(GAP, y + i * LINE, _cut(line, 44))
        for c, tile in enumerate(strip.tiles):
            if tile.picture is not None:
                sheet.paste(_image(tile.picture, width - GAP), (left + c * width, y))
            write(left + c * width, y + SIDE, _cut(tile.below, width // LETTER), tile.colour)
    sheet.quantize(128).save(path, optimize=True)


def _image(picture: Tensor, width: int) -> Image.Image:
    from PIL import Image

    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels).resize((width, SIDE), Image.Resampling.BICUBIC)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 2]}.."
