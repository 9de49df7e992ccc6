"""Silhouettes: polygons in a unit frame that are posed at random and filled at four times the size of the picture.

Every shape faces right in a frame where x and y run from -1 to 1 and y points down. A shape is a list of parts; each
part is an outline (smoothed or straight), a pivot about which it swings a little, and a role that says how it is
painted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 64
OVERSAMPLE = 4

Points = NDArray[np.float64]


def smooth(points: list[tuple[float, float]], steps: int = 5) -> Points:
    """Close a Catmull-Rom spline through control points; returns (len(points) * steps, 2)."""
    p = np.asarray(points, dtype=np.float64)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (q[:, None, :] for q in (before, p, after, beyond))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
    return curve.reshape(-1, 2)


def ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Points:
    """An ellipse of 28 corners about (x, y), turned by `tilt` radians."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    u, v = rx * np.cos(angle), ry * np.sin(angle)
    return np.stack([x + u * np.cos(tilt) - v * np.sin(tilt), y + u * np.sin(tilt) + v * np.cos(tilt)], 1)


@dataclass(frozen=True, eq=False)
class Part:
    """One outline of a shape; `paint` is coat, beak, leg, eye or wing."""

    outline: Points
    paint: str = "coat"
    pivot: tuple[float, float] = (0.0, 0.0)
    swing: float = 0.0  # standard deviation of the part's turn about its pivot, radians


def _raw(*points: tuple[float, float]) -> Points:
    return np.asarray(points, dtype=np.float64)


def _leg(x: float, top: float, foot: float, width: float, bend: float, thigh: float, swing: float) -> Part:
    """A tapering leg: `bend` moves its knee, and its top is `thigh` times as wide as its foot."""
    knee, w = top + 0.52 * (foot - top), width / 2
    outline = smooth(
        [
            (x - w * thigh, top),
            (x + w * thigh, top),
            (x + w * 1.15 + bend, knee),
            (x + w, foot - 0.07),
            (x + w * 1.5, foot),
            (x - w, foot),
            (x - w * 0.95, foot - 0.1),
            (x - w * 1.1 + bend, knee),
        ],
        3,
    )
    return Part(outline, pivot=(x, top), swing=swing)


def _four_legs(
    hind: float, fore: float, top: float, foot: float, width: float, gap: float, thigh: float, swing: float
) -> list[Part]:
    hind_bend, fore_bend = -0.05, 0.02
    return [
        _leg(hind, top, foot, width, hind_bend, thigh, swing),
        _leg(hind + gap, top, foot, width, hind_bend, thigh, swing),
        _leg(fore - gap, top, foot, width, fore_bend, thigh * 0.8, swing),
        _leg(fore, top, foot, width, fore_bend, thigh * 0.8, swing),
    ]


def _horse() -> list[Part]:
    body = [(-0.64, -0.1), (-0.5, -0.27), (-0.1, -0.2), (0.22, -0.28), (0.44, -0.14), (0.44, 0.1), (0.2, 0.2)]
    neck = [(0.06, -0.2), (0.34, -0.6), (0.5, -0.86), (0.64, -0.84), (0.95, -0.5), (0.93, -0.38), (0.8, -0.36)]
    tail = [(-0.56, -0.22), (-0.76, -0.18), (-0.88, 0.1), (-0.88, 0.44), (-0.78, 0.46), (-0.74, 0.14), (-0.58, 0.02)]
    return [
        Part(smooth(tail), pivot=(-0.58, -0.12), swing=0.18),
        *_four_legs(-0.5, 0.32, 0.02, 0.9, 0.12, 0.17, 1.9, 0.1),
        Part(smooth([*body, (-0.15, 0.18), (-0.45, 0.24), (-0.64, 0.12)])),
        Part(smooth([*neck, (0.66, -0.44), (0.58, -0.3), (0.46, 0.08), (0.2, 0.06)]), pivot=(0.25, 0.0), swing=0.09),
        Part(_raw((0.46, -0.8), (0.5, -1.04), (0.62, -0.8)), pivot=(0.25, 0.0), swing=0.0),
        Part(ellipse(0.68, -0.66, 0.035, 0.035), "eye"),
    ]


def _cat() -> list[Part]:
    body = [(-0.62, -0.06), (-0.44, -0.21), (0.0, -0.16), (0.36, -0.22), (0.52, -0.05), (0.46, 0.2), (0.1, 0.24)]
    tail = [(-0.5, 0.04), (-0.72, -0.12), (-0.78, -0.45), (-0.95, -0.66), (-0.9, -0.76), (-0.68, -0.56), (-0.62, -0.24)]
    return [
        Part(smooth([*tail, (-0.46, -0.14)]), pivot=(-0.54, -0.05), swing=0.2),
        *_four_legs(-0.46, 0.4, 0.1, 0.74, 0.15, 0.2, 1.6, 0.1),
        Part(smooth([*body, (-0.4, 0.26), (-0.62, 0.16)])),
        Part(ellipse(0.62, -0.24, 0.27, 0.24)),
        Part(_raw((0.38, -0.3), (0.4, -0.68), (0.62, -0.44))),
        Part(_raw((0.62, -0.44), (0.82, -0.68), (0.88, -0.28))),
        Part(ellipse(0.7, -0.29, 0.04, 0.045), "eye"),
        Part(ellipse(0.52, -0.29, 0.04, 0.045), "eye"),
    ]


def _dog() -> list[Part]:
    body = [(-0.58, -0.1), (-0.44, -0.2), (0.0, -0.14), (0.34, -0.22), (0.46, -0.02), (0.36, 0.22), (0.1, 0.16)]
    neck = [(0.2, -0.18), (0.36, -0.5), (0.46, -0.68), (0.66, -0.66), (0.74, -0.52), (0.98, -0.46), (0.99, -0.32)]
    ear = [(0.34, -0.68), (0.48, -0.68), (0.46, -0.4), (0.32, -0.22), (0.2, -0.3), (0.26, -0.5)]
    return [
        Part(smooth([(-0.46, -0.04), (-0.74, -0.34), (-0.72, -0.52), (-0.62, -0.5), (-0.58, -0.3), (-0.4, -0.18)])),
        *_four_legs(-0.44, 0.3, 0.04, 0.86, 0.12, 0.17, 1.7, 0.1),
        Part(smooth([*body, (-0.2, 0.1), (-0.42, 0.18), (-0.58, 0.1)])),
        Part(smooth([*neck, (0.7, -0.24), (0.56, -0.18), (0.46, 0.06), (0.22, 0.06)]), pivot=(0.3, 0.0), swing=0.06),
        Part(smooth(ear_points(ear)), "wing"),
        Part(ellipse(0.97, -0.42, 0.05, 0.05), "nose"),
        Part(ellipse(0.6, -0.53, 0.04, 0.04), "eye"),
    ]


def ear_points(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A hanging ear that reaches a little below the jaw, so that it shows in the outline too."""
    return [(x, y + 0.02) for x, y in points]


def _bird() -> list[Part]:
    body = [
        (-0.96, -0.1),
        (-0.6, -0.1),
        (-0.2, -0.3),
        (0.2, -0.34),
        (0.4, -0.5),
        (0.58, -0.3),
        (0.5, 0.02),
        (0.2, 0.28),
    ]
    return [
        Part(_raw((-0.08, 0.2), (-0.02, 0.2), (-0.02, 0.66), (0.12, 0.7), (-0.08, 0.7)), "beak", (-0.05, 0.2), 0.1),
        Part(_raw((0.16, 0.2), (0.22, 0.2), (0.22, 0.66), (0.36, 0.7), (0.16, 0.7)), "beak", (0.19, 0.2), 0.1),
        Part(_raw((0.56, -0.5), (0.98, -0.36), (0.58, -0.26)), "beak"),
        Part(smooth([*body, (-0.2, 0.26), (-0.6, 0.08), (-0.98, 0.1)])),
        Part(ellipse(0.44, -0.42, 0.21, 0.2)),
        Part(smooth([(-0.5, -0.1), (0.1, -0.16), (0.22, 0.0), (0.0, 0.16), (-0.3, 0.1)]), "wing"),
        Part(ellipse(0.5, -0.46, 0.04, 0.04), "eye"),
    ]


def _fish() -> list[Part]:
    body = [(0.84, 0.02), (0.6, -0.24), (0.2, -0.36), (-0.2, -0.28), (-0.56, -0.08), (-0.56, 0.1), (-0.2, 0.3)]
    tail = [(-0.5, 0.0), (-0.92, -0.4), (-0.84, 0.0), (-0.94, 0.4)]
    return [
        Part(_raw(*tail), pivot=(-0.5, 0.0), swing=0.15),
        Part(_raw((0.28, -0.3), (-0.02, -0.58), (-0.3, -0.5), (-0.3, -0.22))),
        Part(_raw((0.1, 0.28), (-0.12, 0.54), (-0.3, 0.46), (-0.24, 0.22))),
        Part(smooth([*body, (0.2, 0.38), (0.6, 0.26)])),
        Part(_raw((0.24, 0.06), (0.0, -0.06), (-0.04, 0.2)), "wing"),
        Part(ellipse(0.56, -0.08, 0.055, 0.055), "eye"),
    ]


def _landbird() -> list[Part]:
    body = [(-0.5, -0.16), (-0.1, -0.3), (0.2, -0.42), (0.46, -0.2), (0.42, 0.2), (0.1, 0.42), (-0.3, 0.32)]
    return [
        Part(_raw((-0.02, 0.3), (0.03, 0.3), (0.03, 0.78), (0.14, 0.82), (-0.02, 0.82)), "beak", (0.0, 0.3), 0.1),
        Part(_raw((0.18, 0.3), (0.23, 0.3), (0.23, 0.78), (0.34, 0.82), (0.18, 0.82)), "beak", (0.2, 0.3), 0.1),
        Part(_raw((-0.4, -0.1), (-0.9, -0.56), (-0.74, -0.64), (-0.3, -0.24)), pivot=(-0.35, -0.1), swing=0.12),
        Part(_raw((0.5, -0.52), (0.78, -0.38), (0.5, -0.3)), "beak"),
        Part(smooth(body)),
        Part(ellipse(0.34, -0.42, 0.25, 0.24)),
        Part(smooth([(-0.36, -0.1), (0.1, -0.12), (0.16, 0.08), (-0.06, 0.22)]), "wing"),
        Part(ellipse(0.42, -0.46, 0.04, 0.04), "eye"),
    ]


def _waterbird() -> list[Part]:
    body = [(-0.95, -0.16), (-0.6, 0.0), (-0.1, -0.04), (0.3, 0.04), (0.48, 0.26), (0.3, 0.48), (-0.4, 0.48)]
    neck = [(0.2, 0.2), (0.36, -0.1), (0.26, -0.42), (0.3, -0.72), (0.46, -0.82), (0.64, -0.72), (0.66, -0.58)]
    return [
        Part(_raw((0.62, -0.76), (0.94, -0.58), (0.6, -0.56)), "beak"),
        Part(smooth([*body, (-0.76, 0.28)])),
        Part(smooth([*neck, (0.54, -0.52), (0.44, -0.54), (0.42, -0.38), (0.54, -0.1), (0.48, 0.26)])),
        Part(smooth([(-0.7, 0.02), (-0.1, 0.02), (0.14, 0.16), (-0.1, 0.34), (-0.46, 0.3)]), "wing"),
        Part(ellipse(0.52, -0.7, 0.035, 0.035), "eye"),
    ]


SHAPES: dict[str, list[Part]] = {
    "horse": _horse(),
    "cat": _cat(),
    "bird": _bird(),
    "fish": _fish(),
    "dog": _dog(),
    "landbird": _landbird(),
    "waterbird": _waterbird(),
}


@dataclass(frozen=True, eq=False)
class Silhouette:
    """Coverage maps of a posed shape, each (64, 64) float32 in [0, 1]."""

    mask: NDArray[np.float32]  # the whole animal
    paints: dict[str, NDArray[np.float32]]  # beak, leg, eye, wing, nose: painted over the coat


def silhouette(shape: str, rng: np.random.Generator) -> Silhouette:
    """Pose a shape (size, place, turn, mirror, limbs) and fill it; the draws of `rng` do not depend on the shape."""
    u = rng.random(8)
    swings = rng.standard_normal(16)
    scale = 24.0 + 5.0 * u[0]
    stretch, turn, shear = 1.0 + 0.16 * (u[1] - 0.5), 0.24 * (u[2] - 0.5), 0.2 * (u[3] - 0.5)
    mirror = -1.0 if u[4] < 0.5 else 1.0
    room = SIZE / 2 - scale
    centre = np.array([SIZE / 2 + 2.2 * room * (u[5] - 0.5), SIZE / 2 + 0.5 + (2.0 * room + 3.0) * (u[6] - 0.5)])
    cos, sin = np.cos(turn), np.sin(turn)
    pose = np.array([[cos, -sin], [sin, cos]]) @ np.array([[stretch, shear], [0.0, 1.0 / stretch]])
    pose = np.diag([mirror, 1.0]) @ pose * scale

    whole = Image.new("L", (SIZE * OVERSAMPLE, SIZE * OVERSAMPLE))
    brush = ImageDraw.Draw(whole)
    layers: dict[str, Image.Image] = {}
    swing = 0.0
    for index, part in enumerate(SHAPES[shape]):
        points = part.outline
        if part.swing:
            swing = float(swings[index]) * part.swing
            c, s = np.cos(swing), np.sin(swing)
            pivot = np.asarray(part.pivot)
            points = (points - pivot) @ np.array([[c, s], [-s, c]]) + pivot
        corners = ((points @ pose.T + centre) * OVERSAMPLE).ravel().tolist()
        if part.paint not in ("eye", "wing", "nose"):
            brush.polygon(corners, fill=255)
        if part.paint != "coat":
            layer = layers.setdefault(part.paint, Image.new("L", whole.size))
            ImageDraw.Draw(layer).polygon(corners, fill=255)
    return Silhouette(_reduce(whole), {paint: _reduce(layer) for paint, layer in layers.items()})


def _reduce(mask: Image.Image) -> NDArray[np.float32]:
    return np.asarray(mask.reduce(OVERSAMPLE), dtype=np.float32) / 255.0


def blob(x: float, y: float, radius: float, rng: np.random.Generator, rough: float, flat: float) -> NDArray[np.float32]:
    """A round (rough = 0) or ragged filled outline, (64, 64) in [0, 1]; `flat` squeezes its height."""
    angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    reach = radius * (1.0 + rough * (rng.random(11) - 0.5))
    points = smooth([(x + r * np.cos(a), y + flat * r * np.sin(a)) for r, a in zip(reach, angle, strict=True)], 4)
    image = Image.new("L", (SIZE * OVERSAMPLE, SIZE * OVERSAMPLE))
    ImageDraw.Draw(image).polygon((points * OVERSAMPLE).ravel().tolist(), fill=255)
    return _reduce(image)
