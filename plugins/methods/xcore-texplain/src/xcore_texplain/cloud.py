"""Pictures of words: word clouds, and bars of what two groups of images do not have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.session import write_text
from xcore_texplain.lexicon import Lexicon
from xcore_texplain.words import Change, Word

if TYPE_CHECKING:
    from wordcloud import WordCloud

NAME, WORD, UNSURE, COMMON = "#c0392b", "#1f4e79", "#7fa8cc", "#b5bcc4"
"""Colours: words of the class, other words, words without an interval, words as frequent in the prior."""
WIDTH, HEIGHT = 800, 500
"""Size of a cloud in pixels."""
SCALING = 0.5
"""How closely sizes follow frequencies: a word half as frequent as the one before it is three quarters as large."""
MOST_WORDS = 60
"""Words in a cloud."""
MOST_BARS = 12
"""Words that are drawn as gained, and as many as lost."""


def draw_cloud(
    words: Sequence[Word],
    cls: str,
    folder: Path,
    least: float = 0.02,
    stem: str = "cloud",
    lexicon: Lexicon | None = None,
) -> dict[str, Path]:
    """Draw a word cloud in which the size of a word follows its frequency; write it as PNG and SVG.

    Words of the class (see `Lexicon`) are red and the others blue. Words that are hardly more frequent than in the
    shuffled prior are grey: the difference is below `least`, or its interval includes zero. Words over the prior
    without an interval, as for a single image, are light blue.

    Parameters
    ----------
    words
        The words.
    cls
        Name of the class.
    folder
        Where the files go.
    least
        Smallest share of the sentences, in [0, 1], of a word that is drawn.
    stem
        Name of the files without their suffix.
    lexicon
        Which words are of the class; None = those of its name.

    Returns
    -------
    The files by their names; none if no word is frequent enough.
    """
    made = cloud_of(words, [cls], least, lexicon)
    if made is None:
        return {}
    png, svg = folder / f"{stem}.png", folder / f"{stem}.svg"
    made.to_image().save(png)
    write_text(svg, made.to_svg())
    return {png.name: png, svg.name: svg}


def cloud_of(
    words: Sequence[Word], classes: Sequence[str], least: float, lexicon: Lexicon | None = None
) -> WordCloud | None:
    """The cloud of `draw_cloud` for words about one or several classes; None if no word is frequent enough."""
    known = lexicon or Lexicon()
    shown = {w.word: w for w in words if w.freq >= least and w.freq > 0}
    if not shown:
        return None
    own = {word for word in shown if any(known.is_own(word, cls) for cls in classes)}
    colours = {word: NAME if word in own else _colour(w, least) for word, w in shown.items()}

    def colour(word: str, **_: Any) -> str:
        return colours[word]

    return _layout({word: w.freq for word, w in shown.items()}, colour)


def draw_changes(rows: Sequence[Change], labels: tuple[str, str], path: Path) -> Path:
    """Draw the words that the second group gains most and loses most, as bars with their intervals.

    Parameters
    ----------
    rows
        The words, the one that gains most first, as `compare_groups` returns them.
    labels
        Names of the two groups.
    path
        The PNG file to write.
    """
    from PIL import Image, ImageDraw, ImageFont

    gained = [r for r in rows if r.change > 0][:MOST_BARS]
    lost = [r for r in reversed(rows) if r.change < 0][:MOST_BARS][::-1]
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


def _layout(sizes: Mapping[str, float], colour: Callable[..., str]) -> WordCloud:
    """The largest cloud in which no word had to shrink to find room, so that equal frequencies look equal."""
    from wordcloud import WordCloud

    largest, least = HEIGHT * 0.4, HEIGHT * 0.05
    while True:
        made = WordCloud(
            width=WIDTH, height=HEIGHT, background_color="white", prefer_horizontal=1.0, max_words=MOST_WORDS,
            random_state=0, color_func=colour, relative_scaling=SCALING, collocations=False, max_font_size=int(largest),
        ).generate_from_frequencies(sizes)  # fmt: skip
        placed = [(freq, size) for (_, freq), size, *_ in made.layout_]
        asked = [
            int(largest),
            *(round((SCALING * b / a + 1 - SCALING) * size) for (a, size), (b, _) in pairwise(placed)),
        ]
        fits = len(placed) == min(len(sizes), MOST_WORDS) and [size for _, size in placed] == asked
        if fits or largest < least:
            return made
        largest *= 0.9


def _colour(word: Word, least: float) -> str:
    # A word of nearly every sentence can be over its prior by a thousandth, with an interval that excludes zero.
    if word.over <= 0 or word.over < least:
        return COMMON
    if word.over_lo is None:
        return UNSURE
    return WORD if word.over_lo > 0 else COMMON
