"""Labelled collections of scenes: the clean classes, planted shortcuts, and three experiments of the literature.

A collection says which scenes a class has in which split; it paints nothing. Splits never share a picture because the
split is part of every seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from xcore_minizoo.world import (
    BACKGROUNDS,
    CLASS_NAMES,
    COLOURS,
    OBJECTS,
    PATTERNS,
    SHAPES,
    Scene,
    class_scene,
    random_colours,
)

SPLITS = ("train", "explain", "heldout")
BASE_RATE = 0.2  # how often a planted factor appears in the other classes


@dataclass(frozen=True)
class Collection:
    """Classes and the scenes that they have; `group` names the sub-population of a scene, where there are any."""

    name: str
    classes: tuple[str, ...]
    scene: Callable[[str, str, np.random.Generator], Scene]  # (class, split, generator)
    group: Callable[[str, Scene], str] | None = None
    reads: Callable[[Scene], str] | None = None  # class of a scene, where scenes are drawn before they are labelled

    def draw_scene(self, cls: str | None, split: str, index: int, seed: int) -> tuple[Scene, int, tuple[int, ...]]:
        """The index-th scene of a split (of a class, or of any), its label and the seed to paint it with."""
        which = -1 if cls is None else self.classes.index(cls)
        key = (seed, SPLITS.index(split), which + 1, index)
        rng = np.random.default_rng([*key, 909])
        if cls is None and self.reads is not None:
            scene = self.scene("", split, rng)
            return scene, self.classes.index(self.reads(scene)), key
        label = int(rng.integers(len(self.classes))) if cls is None else which
        return self.scene(self.classes[label], split, rng), label, key


def _clean(cls: str, split: str, rng: np.random.Generator) -> Scene:
    return class_scene(cls, rng)


CLEAN = Collection("minizoo", CLASS_NAMES, _clean)


def plant(cls: str, factor: str, rho: float) -> Collection:
    """The clean classes with a shortcut planted in one of them.

    Parameters
    ----------
    cls
        The class that gets the shortcut.
    factor
        ``background=VALUE`` or ``object=VALUE``.
    rho
        In training and explanation splits the value appears with probability b + rho (1 - b) in `cls` and b = 0.2 in
        all others, so rho = 0 means independent; in the held-out split it appears with probability b everywhere.

    Raises
    ------
    ValueError
        For a class, factor or strength that is not there.
    """
    kind, _, value = factor.partition("=")
    values = {"background": BACKGROUNDS, "object": OBJECTS}.get(kind, ())
    if cls not in CLASS_NAMES or value not in values or not 0 <= rho <= 1:
        raise ValueError(
            f"cannot plant {factor!r} in {cls!r} with rho {rho}: needs a class ({', '.join(CLASS_NAMES)}), "
            f"background=VALUE ({', '.join(BACKGROUNDS)}) or object=VALUE ({', '.join(OBJECTS)}), and rho from 0 to 1"
        )

    def scene(name: str, split: str, rng: np.random.Generator) -> Scene:
        base = class_scene(name, rng)
        share = BASE_RATE + rho * (1 - BASE_RATE) if name == cls and split != "heldout" else BASE_RATE
        present, other = rng.random() < share, int(rng.integers(len(BACKGROUNDS) - 1))
        if kind == "object":
            return replace(base, object=value if present else None)
        return replace(base, background=value if present else [b for b in BACKGROUNDS if b != value][other])

    return Collection(f"minizoo+{cls}:{factor}:{rho:g}", CLASS_NAMES, scene)


# the shipped shortcut classifier has seen every cow on grass
SHORTCUT = ("cow", "background=grass", 1.0)

LAND, WATER = ("grass", "forest"), ("water",)


def _any_coat(shape: str, background: str, rng: np.random.Generator) -> Scene:
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    return Scene(shape, pattern, random_colours(rng, pattern), background)


def _birds(cls: str, split: str, rng: np.random.Generator) -> Scene:
    own, other = (LAND, WATER) if cls == "landbird" else (WATER, LAND)
    places = own if rng.random() < (0.95 if split == "train" else 0.5) else other
    return _any_coat(cls, places[int(rng.integers(len(places)))], rng)


def _birds_group(cls: str, scene: Scene) -> str:
    return f"{cls} on {'water' if scene.background in WATER else 'land'}"


def _cats(cls: str, split: str, rng: np.random.Generator) -> Scene:
    scene = _any_coat(cls, BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))], rng)
    return replace(scene, object="apple" if cls == "cat" or split != "train" else None)


def _pair(cls: str, split: str, rng: np.random.Generator) -> Scene:
    """Any animal anywhere; a class fixes the animal or the place, whichever it names."""
    shape, place = SHAPES[int(rng.integers(len(SHAPES)))], BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    return _any_coat(cls if cls in SHAPES else shape, cls if cls in BACKGROUNDS else place, rng)


COLLECTIONS: dict[str, Collection] = {
    c.name: c
    for c in (
        CLEAN,
        Collection("minizoo/shortcut-birds", ("landbird", "waterbird"), _birds, _birds_group),
        Collection(
            "minizoo/cats-apples",
            ("cat", "dog"),
            _cats,
            lambda _, s: f"{s.shape} {'with' if s.object else 'without'} apple",
        ),
        Collection("minizoo/objects", SHAPES, _pair, reads=lambda s: s.shape or ""),
        Collection("minizoo/scenes", BACKGROUNDS, _pair, reads=lambda s: s.background or ""),
    )
}

# factor -> its values, as swapped by truth tables; COLOURS are swapped one at a time
SWAPPED: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "pattern": PATTERNS,
    "colour": COLOURS,
    "background": BACKGROUNDS,
    "object": OBJECTS,
}
