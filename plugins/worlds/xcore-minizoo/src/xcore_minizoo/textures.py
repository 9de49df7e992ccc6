"""Coats and backgrounds as smooth fields, softened over one pixel where two colours meet.

Each texture is a function of pixel positions and a few draws of a generator, so it needs no oversampling: the edge
between two colours is a ramp one pixel wide, which is what drawing larger and reducing would give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 64
Field = NDArray[np.float32]

_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)

PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (24, 24, 28),
    "white": (240, 238, 232),
    "orange": (242, 132, 22),
    "yellow": (240, 208, 50),
    "brown": (122, 72, 34),
    "gray": (138, 138, 142),
    "red": (208, 30, 34),
    "pink": (244, 150, 176),
    "blue": (34, 54, 190),
    "green": (70, 216, 110),
}


def noise(rng: np.random.Generator, cells: int | tuple[int, int]) -> Field:
    """Smooth noise about 0 with standard deviation near 0.6: a grid of normal draws enlarged to (64, 64)."""
    shape = (cells, cells) if isinstance(cells, int) else cells
    grid = Image.fromarray(rng.standard_normal(shape, dtype=np.float32), mode="F")
    return np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def colour(name: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """A palette colour, slightly varied, as (3,) in [0, 1]."""
    jitter = rng.normal(0.0, 4.0, 3) + rng.normal(0.0, 4.0)
    return np.clip((np.asarray(PALETTE[name]) + jitter) / 255.0, 0, 1).astype(np.float32)


def marks(pattern: str, rng: np.random.Generator, period: float) -> Field:
    """Where the second colour of a pattern lies: (64, 64) in [0, 1]. All patterns take the same draws from `rng`.

    `period` is the distance in pixels between two stripes, spots or checks.
    """
    u = rng.random(6)
    warp = noise(rng, 5)
    rough = noise(rng, 6)
    where: Field = np.zeros((SIZE, SIZE), np.float32)
    if pattern == "striped":
        angle = (u[0] - 0.5) * 1.3
        along = _X * np.cos(angle) + _Y * np.sin(angle) + 0.16 * period * warp
        wave = np.sin(2 * np.pi * (along / period + u[1]))
        where = np.clip(0.5 + wave * period / (2 * np.pi) * 0.95, 0, 1)
    elif pattern == "spotted":
        angle, step = (u[0] - 0.5) * 1.0, period * 1.25
        a = (_X * np.cos(angle) + _Y * np.sin(angle)) / step + u[1]
        b = (_Y * np.cos(angle) - _X * np.sin(angle)) / (step * 0.9) + u[2]
        row = np.floor(b)
        shifted = a + 0.5 * (row % 2)
        dx, dy = (shifted - np.floor(shifted) - 0.5) * step, (b - row - 0.5) * step * 0.9
        radius = period * (0.34 + 0.05 * u[3]) * (1.0 + 0.12 * rough)
        where = np.clip(0.5 + radius - np.sqrt(dx * dx + dy * dy), 0, 1)
    elif pattern == "patched":
        field = noise(rng, int(np.clip(round(SIZE / (period * 1.35)) + 1, 3, 9)))
        slope = np.hypot(*np.gradient(field)) + 0.03
        where = np.clip(0.5 + (field - 0.05 - 0.2 * (u[3] - 0.5)) / slope * 0.8, 0, 1)
    elif pattern == "checkered":
        angle, side = (u[0] - 0.5) * 0.5, period * 1.7
        a = (_X * np.cos(angle) + _Y * np.sin(angle)) / side + u[1]
        b = (_Y * np.cos(angle) - _X * np.sin(angle)) / side + u[2]
        sides = [np.clip(_triangle(t) * side * 0.5, -0.5, 0.5) for t in (a, b)]
        where = 0.5 + 2.0 * sides[0] * sides[1]
    return where


def _triangle(t: Field) -> Field:
    """A triangle wave of period 1 in [-1, 1], whose zeros are the borders of the checks."""
    wave: Field = 1.0 - 4.0 * np.abs(t - np.floor(t) - 0.5)
    return wave


def coat(pattern: str, colours: tuple[str, ...], rng: np.random.Generator, period: float) -> NDArray[np.float32]:
    """A coat over the whole picture, (64, 64, 3) in [0, 1]: first colour the ground, second colour the marks."""
    inks = rng.spawn(1)[0]
    ground = colour(colours[0], inks)
    mark = colour(colours[-1], inks)
    where = marks(pattern, rng, period)[..., None]
    return ground + where * (mark - ground)


def _paint(stops: list[tuple[int, int, int]], field: Field) -> NDArray[np.float32]:
    """Colour a field: 0 gives the first stop, 1 the last, linear between (values outside are clipped)."""
    table = np.asarray(stops, np.float32) / 255.0
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(field, at, table[:, c]) for c in range(3)], -1).astype(np.float32)


def background(name: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """A background over the whole picture, (64, 64, 3) in [0, 1]."""
    u = rng.random(4).astype(np.float32)
    if name == "grass":
        blades = noise(rng, (14, 40))
        return _paint([(28, 84, 22), (54, 128, 40), (96, 168, 62)], 0.5 + 0.24 * blades + 0.1 * noise(rng, 4))
    if name == "sand":
        ripple = np.sin(2 * np.pi * ((_Y + 2.5 * noise(rng, 4)) / (9 + 3 * u[0]) + u[1]))
        return _paint([(186, 152, 100), (214, 184, 132), (232, 208, 160)], 0.5 + 0.22 * ripple + 0.16 * noise(rng, 26))
    if name == "water":
        wave = np.sin(
            2 * np.pi * ((_Y + 2.0 * np.sin(_X / (5 + 2 * u[0]) + 7 * u[1]) + 1.5 * noise(rng, 5)) / 10 + u[2])
        )
        return _paint([(34, 96, 168), (62, 130, 200), (128, 186, 232)], 0.42 + 0.36 * wave)
    if name == "snow":
        return _paint(
            [(196, 208, 226), (228, 234, 244), (250, 252, 255)], 0.55 + 0.26 * noise(rng, 9) + 0.14 * noise(rng, 22)
        )
    if name == "mud":
        return _paint([(44, 28, 18), (74, 50, 34), (104, 74, 52)], 0.45 + 0.32 * noise(rng, 11) + 0.1 * noise(rng, 24))
    if name == "sky":
        clouds = noise(rng, (4, 3)) + 0.5 * noise(rng, (9, 6))
        return _paint(
            [(118, 178, 238), (150, 200, 246), (240, 246, 252)], 0.3 + 0.34 * clouds + 0.1 * (_Y / SIZE - 0.5)
        )
    if name == "forest":
        trunks = np.sin(2 * np.pi * ((_X + 1.4 * noise(rng, (3, 9))) / (9 + 3 * u[0]) + u[1]))
        return _paint([(10, 28, 14), (18, 52, 26), (36, 84, 40)], 0.45 + 0.3 * trunks + 0.14 * noise(rng, (8, 20)))
    raise ValueError(f"no background named {name!r}")
