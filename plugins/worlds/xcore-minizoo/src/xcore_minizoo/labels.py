"""The factors that a picture, a crop or a masked picture shows, for training and judging the factor oracles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from xcore_minizoo.shapes import SIZE
from xcore_minizoo.world import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, SHAPES, Drawing, Scene

NONE = "none"
UNKNOWN = -100
"""Label of a factor of which too little is visible; the cross entropy of torch ignores this value."""
FACTORS: dict[str, tuple[str, ...]] = {
    "shape": (NONE, *SHAPES),
    "pattern": (NONE, *PATTERNS),
    "background": (NONE, *BACKGROUNDS),
    "object": (NONE, *OBJECTS),
    "colours": COLOURS,
}
"""Factor -> its values. A picture has any number of "colours", and exactly one value of each other factor."""
ONE_OF = ("shape", "pattern", "background", "object")


@dataclass(frozen=True, eq=False)
class Labels:
    """The index of the value of each factor in `ONE_OF`, and 0, 1 or UNKNOWN for each colour."""

    one_of: tuple[int, int, int, int]
    colours: NDArray[np.float32]


def label(scene: Scene, drawing: Drawing, box: tuple[int, int, int, int] | None = None) -> Labels:
    """The labels of a picture, or of its crop `box` = (left, top, right, bottom) in pixels."""
    left, top, right, bottom = box or (0, 0, SIZE, SIZE)
    window = (slice(top, bottom), slice(left, right))
    texture = scene.shape is None and scene.pattern is not None and scene.background is None
    whole, seen = float(drawing.animal.sum()), float(drawing.animal[window].sum())
    around = 0.0 if texture else float(drawing.background[window].sum())
    thing, thing_seen = float(drawing.object.sum()), float(drawing.object[window].sum())
    coat_seen = float((right - left) * (bottom - top)) if texture else seen
    share = seen / whole if whole else 0.0
    return Labels(
        (
            _value("shape", scene.shape, 1 if share > 0.6 and seen > 150 else 0 if seen < 10 else -1),
            _value("pattern", scene.pattern, 1 if coat_seen > 220 else 0 if coat_seen < 10 else -1),
            _value("background", scene.background, 1 if around > 120 else 0 if around < 10 else -1),
            _value("object", scene.object, 1 if thing and thing_seen > 0.5 * thing else 0 if thing_seen < 4 else -1),
        ),
        _colours(scene, 1 if coat_seen > 220 else 0 if coat_seen < 10 else -1),
    )


def _value(factor: str, value: str | None, visible: int) -> int:
    if value is None or visible == 0:
        return 0
    return FACTORS[factor].index(value) if visible == 1 else UNKNOWN


def _colours(scene: Scene, visible: int) -> NDArray[np.float32]:
    if visible == -1 and scene.colours:
        return np.full(len(COLOURS), UNKNOWN, np.float32)
    present = scene.colours if visible == 1 else ()
    return np.array([colour in present for colour in COLOURS], np.float32)


def random_crop(rng: np.random.Generator, smallest: int = 30) -> tuple[int, int, int, int]:
    """A random square box (left, top, right, bottom) with sides of at least `smallest` pixels."""
    side = int(rng.integers(smallest, SIZE))
    left, top = (int(v) for v in rng.integers(0, SIZE - side + 1, 2))
    return left, top, left + side, top + side


def crop(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The part of a picture in a box, enlarged to the full size."""
    resized = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)


def mask_out(
    image: NDArray[np.uint8], scene: Scene, drawing: Drawing, what: str, fill: int
) -> tuple[NDArray[np.uint8], Labels]:
    """Fill the background ("background") or animal and object ("animal") with a gray level, and label what is left."""
    kept = 1.0 - drawing.background if what == "background" else drawing.background
    out = (image * kept[..., None] + fill * (1.0 - kept[..., None])).astype(np.uint8)
    full = label(scene, drawing)
    shape, pattern, place, thing = full.one_of
    if what == "background":
        return out, Labels((shape, pattern, 0, thing), full.colours)
    # the filled area still shows an outline, so the labels of shape and object are unknown
    hidden = UNKNOWN if scene.shape else 0
    gone = UNKNOWN if scene.object else 0
    return out, Labels((hidden, 0, place, gone), np.zeros_like(full.colours))


def degrade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Degrade a picture at random as lossy coding would: blur, lower resolution, other light and contrast, or noise."""
    kind = rng.random()
    if kind < 0.35:
        picture = Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.1))))
        return np.asarray(picture)
    if kind < 0.7:
        side = int(rng.integers(30, 56))
        small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    values: NDArray[Any] = image.astype(np.float32)
    values = (values - 128) * rng.uniform(0.85, 1.15) + 128 + rng.normal(0, 8, 3)
    if kind > 0.85:
        values = values + rng.normal(0, 12, (SIZE, SIZE, 1))
    return np.clip(values, 0, 255).astype(np.uint8)
