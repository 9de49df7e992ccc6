"""Labelled collections of scenes: the clean classes, planted shortcuts, and three experiments from the literature.

A collection defines which scenes each class has in each split; it paints nothing. No two splits share a picture,
because the split is part of the seed of every scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xcore.contract import UsageError, unknown
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
BASE_RATE = 0.2
"""How often a planted factor value appears in the other classes."""


@dataclass(frozen=True)
class Collection:
    """Classes and the scenes that they have.

    Parameters
    ----------
    name, classes
        Name of the collection, and names of its classes in the order of the labels.
    scene
        (class, split, random generator) -> a scene of the class.
    group
        (class, scene) -> the name of the sub-population that the scene belongs to; None if there are none.
    reads
        Scene -> its class, for collections that draw scenes first and label them afterwards.
    """

    name: str
    classes: tuple[str, ...]
    scene: Callable[[str, str, np.random.Generator], Scene]
    group: Callable[[str, Scene], str] | None = None
    reads: Callable[[Scene], str] | None = None

    def draw_scene(self, cls: str | None, split: str, index: int, seed: int) -> tuple[Scene, int, tuple[int, ...]]:
        """The index-th scene of a class (None = any class) in a split, its label, and the seed to paint it with."""
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
        The value that is planted: ``background=VALUE`` or ``object=VALUE``.
    rho
        Strength of the shortcut, from 0 to 1. In the splits "train" and "explain" the value appears with probability
        b + rho (1 - b) in `cls` and b = 0.2 in all other classes, so that 0 means independent of the class and 1 means
        on every picture. In the held-out split it appears with probability b in all classes.

    Raises
    ------
    UsageError
        There is no such class or factor value, or `rho` is out of range.
    """
    plantable = [*(f"background={b}" for b in BACKGROUNDS), *(f"object={o}" for o in OBJECTS)]
    if cls not in CLASS_NAMES:
        raise unknown("class of the minizoo", cls, CLASS_NAMES)
    if factor not in plantable:
        raise unknown("factor value to plant", factor, plantable)
    if not 0 <= rho <= 1:
        raise UsageError(f"rho, the strength of a planted shortcut, must be from 0 to 1, got {rho:g}")
    kind, _, value = factor.partition("=")

    def scene(name: str, split: str, rng: np.random.Generator) -> Scene:
        base = class_scene(name, rng)
        share = BASE_RATE + rho * (1 - BASE_RATE) if name == cls and split != "heldout" else BASE_RATE
        present, other = rng.random() < share, int(rng.integers(len(BACKGROUNDS) - 1))
        if kind == "object":
            return replace(base, object=value if present else None)
        return replace(base, background=value if present else [b for b in BACKGROUNDS if b != value][other])

    return Collection(f"minizoo+{cls}:{factor}:{rho:g}", CLASS_NAMES, scene)


def swapped(scene: Scene, factor: str, value: str | None) -> Scene:
    """A scene with another value of a factor other than colour; everything else stays.

    A plain coat has one colour, so a pattern that is swapped in needs a second one.
    """
    colours = scene.colours
    if factor == "pattern" and value != "plain" and len(colours) == 1:
        colours = (colours[0], "white" if colours[0] != "white" else "black")
    changed: dict[str, Any] = {factor: value, "colours": colours}
    return replace(scene, **changed)


def repaint(change: str) -> Collection:
    """The clean classes, with one factor of the explained scenes changed, such as ``pattern=plain``.

    Classes keep their names, whatever their explained pictures show: a repainted zebra is a picture of the class zebra
    from which the stripes were removed. Pose, background and light are those of the clean classes. The other splits
    are not changed.

    Raises
    ------
    UsageError
        There is no such factor value.
    """
    known = [f"{factor}={value}" for factor, values in SWAPPED.items() if factor != "colour" for value in values]
    if change not in known:
        raise unknown("factor value to paint:", change, known)
    factor, _, value = change.partition("=")

    def scene(name: str, split: str, rng: np.random.Generator) -> Scene:
        base = class_scene(name, rng)
        return swapped(base, factor, value) if split == "explain" else base

    return Collection(f"minizoo/repainted:{change}", CLASS_NAMES, scene)


SHORTCUT = ("cow", "background=grass", 1.0)
"""The shortcut of the shipped classifier `minizoo/shortcut`, which was trained with every cow on grass."""

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
    """Any animal on any background; the class fixes the animal or the background, whichever it names."""
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

SWAPPED: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "pattern": PATTERNS,
    "colour": COLOURS,
    "background": BACKGROUNDS,
    "object": OBJECTS,
}
"""Factor -> the values that a truth table swaps in; of the colours of a coat one is swapped at a time."""
