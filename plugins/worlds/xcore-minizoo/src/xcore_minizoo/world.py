"""The painted world: a scene is a handful of factors, and `draw` paints it from one seed.

Each part of a picture (pose, coat, background, object, light) has a random stream of its own, so that swapping one
factor leaves everything else in the picture as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcore_minizoo.shapes import SIZE, blob, silhouette
from xcore_minizoo.textures import PALETTE, background, coat, colour

SHAPES = ("horse", "cat", "bird", "fish", "dog")
PATTERNS = ("plain", "striped", "spotted", "patched", "checkered")
COLOURS = tuple(PALETTE)
BACKGROUNDS = ("grass", "sand", "water", "snow", "mud", "sky", "forest")
OBJECTS = ("apple", "rock")

CLASSES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "zebra": ("horse", "striped", ("white", "black")),
    "tiger": ("cat", "striped", ("orange", "black")),
    "leopard": ("cat", "spotted", ("yellow", "black")),
    "horse": ("horse", "plain", ("brown",)),
    "cow": ("horse", "patched", ("white", "black")),
    "panther": ("cat", "plain", ("black",)),
    "swan": ("bird", "plain", ("white",)),
    "clownfish": ("fish", "striped", ("orange", "white")),
}
"""Class -> (shape, pattern, colours). In a striped or checkered coat the order of the colours has no meaning."""
CLASS_NAMES = (*CLASSES, "other")


@dataclass(frozen=True)
class Scene:
    """The factors of a picture; None if it lacks a part. Without shape and background the pattern fills the picture."""

    shape: str | None = None
    pattern: str | None = None
    colours: tuple[str, ...] = ()
    background: str | None = None
    object: str | None = None

    @property
    def name(self) -> str:
        """The class of the scene, one of CLASS_NAMES; "other" if its shape and coat belong to no class."""
        for name, (shape, pattern, colours) in CLASSES.items():
            if (self.shape, self.pattern) == (shape, pattern) and set(self.colours) == set(colours):
                return name
        return "other"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A painted scene: the image (64, 64, 3) uint8, and how much of each pixel is covered, (64, 64) in [0, 1]."""

    image: NDArray[np.uint8]
    animal: NDArray[np.float32]
    object: NDArray[np.float32]

    @property
    def background(self) -> NDArray[np.float32]:
        """The part of each pixel that is neither animal nor object, (64, 64) in [0, 1]."""
        rest: NDArray[np.float32] = np.clip(1.0 - self.animal - self.object, 0, 1)
        return rest


def _stream(seed: int | Sequence[int], part: int) -> np.random.Generator:
    key = [seed] if isinstance(seed, int) else list(seed)
    return np.random.Generator(np.random.PCG64([*key, part]))


def _over(canvas: NDArray[np.float32], paint: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    return canvas + mask[..., None] * (paint - canvas)


def _soften(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over 3 x 3 pixels, from which the rim of a silhouette is found."""
    rows = np.pad(mask, 1, mode="edge")
    rows = rows[:-2] + rows[1:-1] + rows[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9.0


def draw(scene: Scene, seed: int | Sequence[int]) -> Drawing:
    """Paint a scene. The same scene and seed give the same pixels; changing one factor leaves the rest as it was."""
    empty = np.zeros((SIZE, SIZE), np.float32)
    animal, thing = empty, empty
    texture_alone = scene.shape is None and scene.background is None and scene.pattern is not None
    if scene.background is not None:
        canvas = background(scene.background, _stream(seed, 0))
    else:
        canvas = np.full((SIZE, SIZE, 3), 0.5, np.float32)

    if scene.pattern is not None:
        coat_rng = _stream(seed, 1)
        period = float(coat_rng.uniform(8.0, 16.0) if texture_alone else coat_rng.uniform(7.5, 10.5))
        fur = coat(scene.pattern, scene.colours, coat_rng, period)
        if texture_alone:
            canvas = fur
        elif scene.shape is not None:
            posed = silhouette(scene.shape, _stream(seed, 2))
            animal = posed.mask
            rim = np.clip(animal - _soften(animal), 0, 1)
            canvas = _over(canvas, fur, animal) * (1.0 - 0.75 * rim[..., None])
            bright = float(fur.mean()) > 0.35
            paints = {
                "beak": np.array([0.86, 0.56, 0.14], np.float32),
                "eye": np.full(3, 0.04 if bright else 0.96, np.float32),
                "nose": np.full(3, 0.06 if bright else 0.5, np.float32),
            }
            for paint, mask in posed.paints.items():
                ink = canvas * 0.82 if paint == "wing" else paints[paint]
                canvas = _over(canvas, ink, mask)

    if scene.object is not None:
        canvas, thing = _object(canvas, scene, _stream(seed, 3))
        animal = animal * (1.0 - thing)

    light = _stream(seed, 4)
    grain: NDArray[Any] = light.standard_normal((SIZE, SIZE, 1), dtype=np.float32) * 0.012
    lit = (canvas + grain) * float(light.uniform(0.93, 1.05))
    return Drawing((np.clip(lit, 0, 1) * 255 + 0.5).astype(np.uint8), animal, thing)


def _object(
    canvas: NDArray[np.float32], scene: Scene, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Paint an apple or a rock: large and in the middle if there is no animal, else small and in a lower corner."""
    u = rng.random(6)
    if scene.shape is None:
        x, y, radius = 32 + 8 * (u[0] - 0.5), 34 + 8 * (u[1] - 0.5), 13 + 6 * u[2]
    else:
        x, y, radius = (10 if u[3] < 0.5 else 54) + 4 * (u[0] - 0.5), 54 + 4 * (u[1] - 0.5), 6.5 + 2 * u[2]
    ys, xs = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    lit = np.clip(1.08 - 0.5 * np.hypot(xs - x + 0.35 * radius, ys - y + 0.4 * radius) / radius, 0.35, 1.1)[..., None]
    if scene.object == "apple":
        mask = blob(x, y, radius, rng, 0.1, 0.94)
        canvas = _over(canvas, lit * np.array([0.86, 0.1, 0.1], np.float32), mask)
        stem = blob(x + 0.12 * radius, y - 1.05 * radius, 0.26 * radius, rng, 0.0, 1.6)
        canvas = _over(canvas, np.array([0.3, 0.18, 0.06], np.float32), np.clip(stem - mask, 0, 1))
        leaf = blob(x + 0.5 * radius, y - 1.02 * radius, 0.4 * radius, rng, 0.0, 0.5)
        canvas = _over(canvas, np.array([0.2, 0.62, 0.16], np.float32), leaf)
        return canvas, np.clip(mask + stem + leaf, 0, 1)
    mask = blob(x, y + 0.1 * radius, radius * 1.15, rng, 0.55, 0.72)
    base = colour("gray", rng) * 0.95
    return _over(canvas, lit * base, mask), mask


# --- which scenes there are ----------------------------------------------------------------------------------------


def _pick(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]


def random_colours(rng: np.random.Generator, pattern: str) -> tuple[str, ...]:
    """Random colours: one for a plain coat, else two different ones."""
    first = _pick(rng, COLOURS)
    return (first,) if pattern == "plain" else (first, _pick(rng, [c for c in COLOURS if c != first]))


def shuffled(rng: np.random.Generator, pattern: str, colours: tuple[str, ...]) -> tuple[str, ...]:
    """The colours, swapped half of the time in stripes and checks, which have no ground."""
    return colours[::-1] if pattern in ("striped", "checkered") and rng.random() < 0.5 else colours


def class_scene(name: str, rng: np.random.Generator) -> Scene:
    """A scene of a class on a random background. Most scenes of "other" resemble a class in shape or in coat."""
    place = _pick(rng, BACKGROUNDS)
    if name != "other":
        shape, pattern, colours = CLASSES[name]
        return Scene(shape, pattern, shuffled(rng, pattern, colours), place)
    while True:
        near = CLASSES[_pick(rng, tuple(CLASSES))]
        kind = rng.random()
        if kind < 0.3:  # the coat of a class on another shape
            scene = Scene(_pick(rng, SHAPES), near[1], shuffled(rng, near[1], near[2]), place)
        elif kind < 0.6:  # the shape of a class in another coat, half of the time in the class's own pattern
            pattern = near[1] if rng.random() < 0.5 else _pick(rng, PATTERNS)
            scene = Scene(near[0], pattern, random_colours(rng, pattern), place)
        else:
            pattern = _pick(rng, PATTERNS)
            scene = Scene(_pick(rng, SHAPES), pattern, random_colours(rng, pattern), place)
        if scene.name == "other":
            return scene


def held_out(scene: Scene) -> bool:
    """Whether this coat on this shape was left out of the training of generator and image-text model (one in eight)."""
    if scene.shape is None or scene.name != "other":
        return False
    key = f"{scene.shape}/{scene.pattern}/{'/'.join(sorted(scene.colours))}"
    return hashlib.sha256(key.encode()).digest()[0] % 8 == 0


def any_scene(rng: np.random.Generator) -> Scene:
    """A scene from the whole world: animals of the classes and of none, textures, backgrounds, or objects alone."""
    kind = rng.random()
    if kind < 0.24:
        scene = class_scene(_pick(rng, tuple(CLASSES)), rng)
    elif kind < 0.70:
        scene = class_scene("other", rng)
    elif kind < 0.88:
        pattern = _pick(rng, PATTERNS)
        return Scene(None, pattern, random_colours(rng, pattern))
    elif kind < 0.96:
        return Scene(background=_pick(rng, BACKGROUNDS))
    else:
        return Scene(background=_pick(rng, BACKGROUNDS), object=_pick(rng, OBJECTS))
    if rng.random() < 0.08:
        scene = replace(scene, object=_pick(rng, OBJECTS))
    return scene


def training_scene(rng: np.random.Generator) -> Scene:
    """A scene from the whole world, except for the coats that are held out."""
    while True:
        scene = any_scene(rng)
        if not held_out(scene):
            return scene


def draw_many(
    scenes: Sequence[Scene], seeds: Sequence[Sequence[int]], keep: Callable[[Drawing], NDArray[np.uint8]] | None = None
) -> NDArray[np.uint8]:
    """Paint scenes into an array (n, 64, 64, 3) uint8; `keep` makes a picture of each drawing (None = its image)."""
    out = np.empty((len(scenes), SIZE, SIZE, 3), np.uint8)
    for i, (scene, seed) in enumerate(zip(scenes, seeds, strict=True)):
        drawing = draw(scene, seed)
        out[i] = keep(drawing) if keep else drawing.image
    return out
