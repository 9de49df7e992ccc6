"""Pictures for the truth of wired classifiers: painted once, read once by the oracle, and used by every expression.

For each factor there are lines: random scenes, each with all values of the factor in turn and all else as it was.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from xcore.contract import file_digest, seeded
from xcore.session import cached_artifact
from xcore_minizoo.collections import SWAPPED
from xcore_minizoo.labels import FACTORS
from xcore_minizoo.nets import load_oracle
from xcore_minizoo.scenes import indicators, random_scene
from xcore_minizoo.sources import code_digest
from xcore_minizoo.truth import line
from xcore_minizoo.world import Scene, draw_many

ORACLE = Path(__file__).parent / "weights" / "oracle-b"
"""The oracle that all wired classifiers share."""
PAIRS = 200
"""How many pairs of pictures there are at least for every effect in a class of one scene in 40."""
_RARE = 1 / 40
_CHUNK = 512

Readings = Mapping[str, Tensor]
"""Factor -> the oracle's calibrated logits (n, values), in the order of `xcore_minizoo.labels.FACTORS`."""


def read(images: Tensor) -> Readings:
    """What the oracle reads in images (n, 3, 64, 64) in [0, 1]."""
    with seeded(0), torch.no_grad():  # building a network draws random weights: the global state stays as it was
        oracle = load_oracle(ORACLE)
        parts = [oracle(part) for part in images.split(_CHUNK)]
    return {factor: torch.cat([part[factor] for part in parts]) for factor in FACTORS}


@dataclass(frozen=True, eq=False)
class Lines:
    """For one factor: random scenes, each with all values of the factor in turn, and what the oracle reads in them.

    Parameters
    ----------
    values
        The values of the factor, ``factor=value``.
    there
        (scenes, values): which pictures there are. A colour that a coat has twice is left out.
    shown
        Which values the pictures show, by their true factors: ``factor=value`` -> (pictures,).
    readings
        What the oracle reads in the pictures.
    base
        (scenes,): the picture of each line that is the scene as it was drawn.
    """

    values: tuple[str, ...]
    there: NDArray[np.bool_]
    shown: Mapping[str, NDArray[np.bool_]]
    readings: Readings
    base: NDArray[np.int64]


Line = tuple[Scene, dict[str, Scene], tuple[int, ...]]
"""A scene, the scenes of its line, and the key to paint them with."""


def _scenes(factor: str, pairs: int) -> list[Line]:
    """The lines of a factor."""
    place = list(SWAPPED).index(factor)
    made: list[Line] = []
    others = len(SWAPPED[factor]) - (factor != "object")  # an object may also be missing
    for i in range(round(pairs / others / _RARE)):
        key = (place, 808, i)
        rng = np.random.default_rng(key)
        scene = random_scene(rng)
        made.append((scene, line(scene, factor, int(rng.integers(len(scene.colours)))), key))
    return made


@cache
def pool(pairs: int = PAIRS) -> Mapping[str, Lines]:
    """The lines of all factors, painted and read the first time and then kept in the user's cache."""
    factors = {factor: _scenes(factor, pairs) for factor in SWAPPED}

    def make(folder: Path) -> None:
        count = sum(len(swapped) for made in factors.values() for _, swapped, _ in made)
        what = f"painting and reading {count:,} pictures for the truth of all wired classifiers"
        print(f"{what}: about {_minutes(count)}; done once on this machine", file=sys.stderr, flush=True)
        tensors: dict[str, Tensor] = {}
        for factor, made in factors.items():
            pictures = [(scene, key) for _, swapped, key in made for scene in swapped.values()]
            parts = []
            for start in range(0, len(pictures), _CHUNK):
                some = pictures[start : start + _CHUNK]
                drawn = torch.from_numpy(draw_many([s for s, _ in some], [k for _, k in some]))
                parts.append(read(drawn.permute(0, 3, 1, 2).float() / 255))
            tensors |= {f"{factor}.{f}": torch.cat([part[f] for part in parts]) for f in FACTORS}
        save_file(tensors, str(folder / "readings.safetensors"))

    key = {"pairs": pairs, "oracle": file_digest(ORACLE / "model.safetensors"), "code": code_digest("pool")}
    tensors = load_file(str(cached_artifact("minizoo-wired-pool", key, make) / "readings.safetensors"))
    return {f: _lines(f, made, {g: tensors[f"{f}.{g}"] for g in FACTORS}) for f, made in factors.items()}


def _minutes(pictures: int) -> str:
    found = max(1, round(pictures / 20_000))
    return "a minute" if found == 1 else f"{found} minutes"


def _lines(factor: str, made: list[Line], readings: Readings) -> Lines:
    values = tuple(f"{factor}={v}" for v in (*SWAPPED[factor], *([None] if factor == "object" else [])))
    there = np.array([[v in swapped for v in values] for _, swapped, _ in made])
    starts = np.cumsum([0, *there.sum(1)[:-1]])
    base = [start + list(swapped.values()).index(s) for start, (s, swapped, _) in zip(starts, made, strict=True)]
    shown = indicators([scene for _, swapped, _ in made for scene in swapped.values()])
    return Lines(values, there, shown, readings, np.array(base))
