"""Pictures of words: clouds with the name of the class in a colour of its own, and what changed between two groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.store import write_text
from xcore_texplain.counts import Change, Word
from xcore_texplain.words import dropped

if TYPE_CHECKING:
    from wordcloud import WordCloud

NAME, WORD, UNSURE, COMMON = "#c0392b", "#1f4e79", "#7fa8cc", "#b5bcc4"
"""Colours: the name of the class, other words, such without an interval, words that the prior says as often."""
WIDTH, HEIGHT = 800, 500
SCALING = 0.5
"""How far sizes follow frequencies: a word half as frequent as the one before it is three quarters as large."""
MOST = 60
SHOWN = 12


def cloud(words: Sequence[Word], cls: str, folder: Path, least: float = 0.02, stem: str = "cloud") -> dict[str, Path]:
    """Write STEM.png and STEM.svg: a word's size goes with its frequency.

    The words of the class's name are red, others blue; words that the shuffled prior says as often, or less often by
    less than `least`, are grey. Over one image there is no interval to tell: others are light blue.
    """
    sizes = {w.word: w.freq for w in words if w.freq >= least and w.freq > 0}
    if not sizes:
        return {}
    colours = {w.word: NAME if w.word in names(cls) else _shade(w, least) for w in words if w.word in sizes}

    def colour(word: str, **_: Any) -> str:
        return colours[word]

    made = _laid_out(sizes, colour)
    png, svg = folder / f"{stem}.png", folder / f"{stem}.svg"
    made.to_image().save(png)
    write_text(svg, made.to_svg())
    return {png.name: png, svg.name: svg}


def _laid_out(sizes: Mapping[str, float], colour: Callable[..., str]) -> WordCloud:
    """The largest cloud in which no word was made smaller to find room, so that equal frequencies look equal."""
    from wordcloud import WordCloud

    largest, least = HEIGHT * 0.4, HEIGHT * 0.05
    while True:
        made = WordCloud(
            width=WIDTH, height=HEIGHT, background_color="white", prefer_horizontal=1.0, max_words=MOST,
            random_state=0, color_func=colour, relative_scaling=SCALING, collocations=False, max_font_size=int(largest),
        ).generate_from_frequencies(sizes)  # fmt: skip
        placed = [(freq, size) for (_, freq), size, *_ in made.layout_]
        asked = [
            int(largest),
            *(round((SCALING * b / a + 1 - SCALING) * size) for (a, size), (b, _) in pairwise(placed)),
        ]
        fits = len(placed) == min(len(sizes), MOST) and [size for _, size in placed] == asked
        if fits or largest < least:
            return made
        largest *= 0.9


def _shade(word: Word, least: float) -> str:
    # A word of nearly every sentence may surely be over its prior, and by a thousandth.
    if word.over <= 0 or word.over < least:
        return COMMON
    if word.over_lo is None:
        return UNSURE
    return WORD if word.over_lo > 0 else COMMON


def names(cls: str) -> frozenset[str]:
    """The lemmas in the name of a class."""
    return dropped([cls.replace("_", " ")])


def changes(rows: Sequence[Change], labels: tuple[str, str], path: Path) -> Path:
    """Draw the words that the second group gained most and lost most as bars with their intervals, if they have any."""
    from PIL import Image, ImageDraw, ImageFont

    gained = [r for r in rows if r.change > 0][:SHOWN]
    lost = [r for r in reversed(rows) if r.change < 0][:SHOWN][::-1]
    shown = [*gained, *lost]
    line, number, left, wide = 22, 165, 225, 565
    picture = Image.new("RGB", (left + wide + 20, (len(shown) + 2) * line + 10), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    pen.text((8, 6), f"share of sentences, {labels[1]} less {labels[0]}", "black", font)
    top = max([0.01, *(abs(value) for r in shown for value in (r.change, r.lo, r.hi) if value is not None)])

    def at(value: float) -> float:
        return left + wide * (value / top + 1) / 2

    for i, row in enumerate(shown, start=1):
        y = 10 + i * line
        pen.text((8, y), row.word[:20], "black", font)
        pen.text((number, y), f"{row.change:+.2f}", "black", font)
        ends = sorted((at(0), at(row.change)))
        pen.rectangle((ends[0], y + 2, ends[1], y + line - 6), WORD if row.change > 0 else NAME)
        if row.lo is not None and row.hi is not None:
            pen.line((at(row.lo), y + line / 2 - 2, at(row.hi), y + line / 2 - 2), "black" if row.sure else COMMON, 2)
    pen.line((at(0), line, at(0), picture.height - 6), "black")
    if any(row.lo is None for row in shown):
        pen.text((8, picture.height - line), "no intervals: a single image on one side", "black", font)
    picture.save(path)
    return path


def table(rows: Sequence[Word] | Sequence[Change], path: Path) -> Path:
    """Write the figures of all words as CSV; nothing where there is no interval."""
    fields: list[Mapping[str, Any]] = [vars(row) for row in rows]
    head = list(fields[0]) if fields else ["word"]
    lines = [",".join(head), *(",".join(_plain(row[name]) for name in head) for row in fields)]
    write_text(path, "\n".join(lines) + "\n")
    return path


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{float(value):.5g}"
