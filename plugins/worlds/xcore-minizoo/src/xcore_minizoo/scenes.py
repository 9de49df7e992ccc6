"""All scenes with an animal, a background and possibly an object: what they show, and how frequent they are.

The wired classifiers (`xcore_minizoo.wiring`) are judged on these scenes, in which all factors are independent, but for
the colours: a plain coat has one, every other coat two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from xcore_minizoo.world import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, SHAPES, Scene

NONE = "none"
VALUES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "pattern": PATTERNS,
    "colour": COLOURS,
    "background": BACKGROUNDS,
    "object": (*OBJECTS, NONE),
}
"""Factor -> its values."""
THINGS = (None, None, *OBJECTS)
"""Half of the scenes have no object."""
COATS: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (pattern, colours)
    for pattern in PATTERNS
    for colours in (
        [(c,) for c in COLOURS] if pattern == "plain" else [(c, d) for c in COLOURS for d in COLOURS if c != d]
    )
)
"""Patterns with their colours. All patterns are equally frequent, and within a pattern all colours."""
_SIZE = (len(SHAPES), len(COATS), len(BACKGROUNDS), len(THINGS))

Bools = NDArray[np.bool_]
Shares = NDArray[np.float64]


def indicators(scenes: Sequence[Scene]) -> dict[str, Bools]:
    """Which values scenes show: ``factor=value`` -> (n,). Of a plain coat only the first colour shows."""
    out: dict[str, Bools] = {}
    for factor in ("shape", "pattern", "background", "object"):
        column = np.array([getattr(s, factor) or NONE for s in scenes])
        out |= {f"{factor}={v}": column == v for v in VALUES[factor]}
    colours = [s.colours[:1] if s.pattern == "plain" else s.colours for s in scenes]
    return out | {f"colour={c}": np.array([c in shown for shown in colours], bool) for c in COLOURS}


@cache
def space() -> tuple[dict[str, Bools], Shares]:
    """Which values each of the scenes shows, ``factor=value`` -> (scenes,), and how frequent each scene is."""
    parts: tuple[tuple[tuple[str, ...], Sequence[Scene]], ...] = (
        (("shape",), [Scene(shape=s) for s in SHAPES]),
        (("pattern", "colour"), [Scene(pattern=p, colours=c) for p, c in COATS]),
        (("background",), [Scene(background=b) for b in BACKGROUNDS]),
        (("object",), [Scene(object=o) for o in THINGS]),
    )
    shown: dict[str, Bools] = {}
    for axis, (factors, scenes) in enumerate(parts):
        alone = [_SIZE[axis] if i == axis else 1 for i in range(4)]
        for name, column in indicators(scenes).items():
            if name.partition("=")[0] in factors:
                shown[name] = np.broadcast_to(column.reshape(alone), _SIZE).ravel()
    of_pattern = {p: sum(pattern == p for pattern, _ in COATS) for p in PATTERNS}
    coats = np.array([1 / of_pattern[p] for p, _ in COATS]).reshape(1, -1, 1, 1)
    weights = np.broadcast_to(coats, _SIZE).ravel()
    return shown, weights / weights.sum()


def scene_at(place: int) -> Scene:
    """A scene by its place in `space`."""
    shape, coat, background, thing = (int(i) for i in np.unravel_index(place, _SIZE))
    pattern, colours = COATS[coat]
    return Scene(SHAPES[shape], pattern, colours, BACKGROUNDS[background], THINGS[thing])


def pick(rng: np.random.Generator, cumulative: Shares) -> Scene:
    """A random scene, by the cumulative frequencies of all scenes (the last one is 1)."""
    return scene_at(min(int(np.searchsorted(cumulative, rng.random(), side="right")), len(cumulative) - 1))


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene of any animal in any coat on any background."""
    return pick(rng, _cumulative())


@cache
def _cumulative() -> Shares:
    return np.asarray(np.cumsum(space()[1]))
