"""The right answers to the seven questions about a picture or a patch of it, as far as one can see them there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xcore_minizoo.captions import with_article
from xcore_minizoo.questions import (
    BACKGROUND_COLOURS,
    NONE,
    NOTHING,
    OBJECT_COLOURS,
    colour_words,
    texture_words,
)
from xcore_minizoo.shapes import SIZE
from xcore_minizoo.textures import PALETTE
from xcore_minizoo.world import Drawing, Scene

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Answer:
    """The right answer, and whether enough can be seen to be sure of it; if not, it is the best guess."""

    text: str
    sure: bool


def patch(index: int, grid: int = 3) -> Box:
    """The index-th patch of a grid, column by column, as (left, top, right, bottom); leaves out odd pixels."""
    side = SIZE // grid
    left, top = index // grid * side, index % grid * side
    return left, top, left + side, top + side


def answers(scene: Scene, drawing: Drawing, box: Box = (0, 0, SIZE, SIZE)) -> dict[str, Answer]:
    """The answer to each of the questions.

    A coat is judged by the pixels that can be seen: a piece of a patched coat that shows only one colour is plain.
    """
    left, top, right, bottom = box
    window = (slice(top, bottom), slice(left, right))
    area = float((right - left) * (bottom - top))
    texture = scene.shape is None and scene.background is None
    mask = np.ones((SIZE, SIZE), np.float32) if texture else drawing.animal
    coat, around = float(mask[window].sum()), 0.0 if texture else float(drawing.background[window].sum())
    pattern, colours, clear = _coat(scene, drawing.image[window], mask[window])
    place = scene.background or ""
    there = around > 0.04 * area  # enough of the background to speak of it
    visible = around > 0.15 * area or around < 0.01 * area

    out = {
        "pattern": Answer(f"{pattern} texture" if coat >= 10 else NONE, coat < 10 or (coat > 220 and clear)),
        "background colour": Answer(BACKGROUND_COLOURS[place] if there else NONE, visible),
        "background": Answer(place if there else NOTHING, visible),
        "shape": _shape(scene, drawing, window),
    }
    if coat >= 0.03 * area:
        out["colours"] = Answer(colour_words(colours), coat > min(220, 0.2 * area) and clear)
    elif there:
        out["colours"] = Answer(BACKGROUND_COLOURS[place], coat < 10 and around > 0.9 * area)
    else:
        out["colours"] = Answer(OBJECT_COLOURS.get(scene.object or "", NONE), False)
    textures = [(around, place, visible)]
    if coat >= 10:
        textures.append((coat, texture_words(pattern, colours), coat > 220 and clear))
    textures.sort(reverse=True)
    (most, first, known), (second, other, also) = textures[0], textures[1] if len(textures) > 1 else (0.0, NONE, True)
    apart = most > 1.3 * second
    out["primary texture"] = Answer(first or NONE, known and apart)
    seen = second > 0.04 * area
    out["secondary texture"] = Answer(
        other if seen and other else NONE, apart and (second < 0.01 * area or (also and second > 0.1 * area))
    )
    return out


def _coat(scene: Scene, pixels: np.ndarray, mask: np.ndarray) -> tuple[str, tuple[str, ...], bool]:
    """The pattern and the colours that a piece of a coat shows, and whether it shows them clearly."""
    pattern, colours = scene.pattern or "", scene.colours
    if len(colours) < 2:
        return pattern, colours, True
    inks = np.array([PALETTE[c] for c in colours], np.float32)
    at = pixels[mask > 0.9].astype(np.float32)
    if not len(at):
        return pattern, colours, False
    nearest = np.square(at[:, None] - inks).sum(-1).argmin(1)
    share = float(nearest.mean())  # of the second colour
    least = min(share, 1 - share)
    if least < 0.04:
        return "plain", (colours[int(share > 0.5)],), least < 0.01
    return pattern, colours, least > 0.15


def _shape(scene: Scene, drawing: Drawing, window: tuple[slice, slice]) -> Answer:
    whole, seen = float(drawing.animal.sum()), float(drawing.animal[window].sum())
    if scene.shape is not None and seen >= 10:
        return Answer(with_article(scene.shape), seen > 0.6 * whole and seen > 150)
    thing, part = float(drawing.object.sum()), float(drawing.object[window].sum())
    if scene.object is not None and part >= 4:
        return Answer(with_article(scene.object), part > 0.5 * thing)
    return Answer(NONE, True)
