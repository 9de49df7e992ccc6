"""The bar chart: sorted effects of all concepts with 95 % intervals and null distributions, one panel per layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xcore.contract import Concept
from xcore_tcav.layer_scores import ConceptScore, LayerScores
from xcore_tcav.options import TcavOptions

if TYPE_CHECKING:
    from PIL import ImageDraw

ROW, LABEL, PLOT, EDGE = 18, 250, 430, 12
"""Height of a bar with its gap, width of the names, width of the plot, and margin, in pixels."""
HEAD, FOOT = 40, 26
"""Height of a panel's title and of its axis, in pixels."""
RAISES, LOWERS, FAINT, WHISKER, BAND, INK, GREY = (
    *("#2b6cb0", "#c05621", "#b9c9dc"),
    *("#1a202c", "#e8dcc0", "#1a202c", "#8a8f98"),
)


def write(path: Path, target: str, concepts: Sequence[Concept], layers: Sequence[LayerScores], o: TcavOptions) -> Path:
    """Draw the chart as a PNG file and return its path.

    Parameters
    ----------
    concepts, layers
        Most important first; the scores of a layer are in the order of the concepts. Each panel sorts its own bars.
    """
    from PIL import Image, ImageDraw

    height = HEAD + ROW * len(concepts) + FOOT
    picture = Image.new("RGB", (2 * EDGE + LABEL + PLOT, EDGE + height * len(layers)), "white")
    pen = ImageDraw.Draw(picture)
    for i, layer in enumerate(layers):
        at = f"@{layer.name}" if len(layers) > 1 else ""
        _panel(pen, EDGE + i * height, f"{target} at {layer.name}", concepts, layer, at, o)
    picture.save(path)
    return path


def _panel(
    pen: ImageDraw.ImageDraw,
    top: int,
    title: str,
    concepts: Sequence[Concept],
    layer: LayerScores,
    at: str,
    o: TcavOptions,
) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(11)
    rows = sorted(zip(concepts, layer.scores, strict=True), key=lambda row: -row[1].effect)
    bands = [_band(s) for _, s in rows]
    ends = [0.0, *(s.effect for _, s in rows), *(x for _, s in rows for x in s.bounds), *(x for b in bands for x in b)]
    finite = [x for x in ends if isfinite(x)]
    low, high = min(finite), max(finite)
    scale = (PLOT - 2) / (high - low or 1.0)

    def x(value: float) -> int:
        return EDGE + LABEL + round((value - low) * scale)

    def text(left: float, y: float, words: str, ink: str = INK, anchor: str = "la") -> None:
        pen.text((left, y), words.encode("latin-1", "replace").decode("latin-1"), fill=ink, font=font, anchor=anchor)

    what = "effect against random sets" if not o.against else f"effect relative to {o.against}"
    text(EDGE, top, f"{title}: {what}")
    band = "" if o.against else "band: 95 % of random sets; "
    marks = "line: 95 % interval; blue: raises the class; orange: lowers it; grey name: not learnable"
    text(EDGE, top + 15, band + marks, GREY)
    first = top + HEAD
    for i, ((concept, score), (null_lo, null_hi)) in enumerate(zip(rows, bands, strict=True)):
        y = first + i * ROW
        if isfinite(null_lo):
            pen.rectangle((x(null_lo), y, x(null_hi), y + ROW - 1), fill=BAND)
        left, right = sorted((x(0), x(score.effect)))
        mark = concept.evidence[f"mark{at}"]
        colour = RAISES if mark > 0 else LOWERS if mark < 0 else FAINT
        pen.rectangle((left, y + 3, right, y + ROW - 5), fill=colour)
        lo, hi = score.bounds
        if isfinite(lo):
            middle = y + ROW // 2 - 1
            pen.line((x(lo), middle, x(hi), middle), fill=WHISKER)
            for end in (lo, hi):
                pen.line((x(end), middle - 3, x(end), middle + 3), fill=WHISKER)
        name = concept.name if font.getlength(concept.name) < LABEL - 10 else f"{concept.name[:38]}..."
        ink = INK if concept.evidence[f"learnable{at}"] else GREY
        text(EDGE + LABEL - 8, y + 2, name, ink, "ra")
    bottom = first + ROW * len(rows)
    pen.line((x(0), first, x(0), bottom), fill=GREY)
    for value in _ticks(low, high):
        pen.line((x(value), bottom, x(value), bottom + 4), fill=GREY)
        text(x(value), bottom + 6, f"{value:g}", GREY, "ma")


def _band(score: ConceptScore) -> tuple[float, float]:
    """The middle 95 % of the null distribution; nan for relative TCAV, which has none."""
    if score.relative:
        return float("nan"), float("nan")
    lo, hi = np.quantile(score.null_effect, (0.025, 0.975))
    return float(lo), float(hi)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between the ends."""
    rough = max(high - low, 1e-9) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    return [round(float(k * step), 12) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
