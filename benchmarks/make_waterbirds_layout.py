"""Paint a small folder in the layout of Waterbirds, with masks as those of CUB.

`python benchmarks/make_waterbirds_layout.py DIR`: painted birds stand on water or on land. In the split for training
most stand where their kind lives; in the others, half of them do. The folder is read as it is: `xcore bench --data
folder:DIR --class waterbird ...`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SPECIES = (("001.Painted_Sparrow", 0), ("002.Painted_Finch", 0), ("003.Painted_Gull", 1), ("004.Painted_Duck", 1))
"""Folder of a species, and whether it is a waterbird."""
PLACES = ("bamboo", "ocean")
AT_HOME = {0: 0.9, 1: 0.5, 2: 0.5}
"""Split (0 = train, 1 = validation, 2 = test) -> share of the birds that stand where their kind lives."""


def paint(waterbird: bool, water: bool, rng: np.random.Generator, side: int) -> tuple[Image.Image, Image.Image]:
    """A bird in a place, and the mask of the bird."""
    low, high = ((20, 60, 120), (90, 160, 220)) if water else ((30, 70, 20), (130, 150, 70))
    noise = Image.fromarray(rng.integers(0, 255, (8, 12), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    share = np.asarray(noise, dtype=np.float32)[..., None] / 255
    picture = Image.fromarray((np.array(low) * (1 - share) + np.array(high) * share).astype(np.uint8))
    drawing, bands = ImageDraw.Draw(picture), rng.integers(3, 7)
    for i in range(bands):
        at = int((i + rng.random()) * side / bands)
        line = [(0, at), (side, at + rng.integers(-4, 5))] if water else [(at, 0), (at + rng.integers(-9, 10), side)]
        drawing.line(line, fill=tuple(rng.integers(low, high).tolist()), width=int(rng.integers(2, 6)))
    mask = Image.new("L", picture.size)
    size = side * rng.uniform(0.16, 0.22)
    x, y = rng.uniform(0.35, 0.65, 2) * side
    colour = tuple(rng.integers((200, 200, 190), (250, 250, 240)).tolist()) if waterbird else (120, 70, 30)
    for canvas, body, beak in ((picture, colour, (230, 150, 20)), (mask, 255, 255)):
        pen = ImageDraw.Draw(canvas)
        pen.ellipse((x - 1.6 * size, y - size * 0.8, x + 1.2 * size, y + size * 0.8), fill=body)
        pen.ellipse((x + 0.6 * size, y - 1.5 * size, x + 1.7 * size, y - 0.4 * size), fill=body)
        length = size * (1.2 if waterbird else 0.5)
        tip = (x + 1.6 * size + length, y - 0.9 * size)
        pen.polygon([(x + 1.6 * size, y - 1.15 * size), (x + 1.6 * size, y - 0.7 * size), tip], fill=beak)
    return picture.filter(ImageFilter.GaussianBlur(side / 250)), mask


def make(folder: Path, n: int = 40, seed: int = 0, side: int = 120) -> Path:
    """Paint n birds for each split, and write ``metadata.csv``; returns the folder."""
    rng = np.random.default_rng(seed)
    rows = []
    for split, share in AT_HOME.items():
        for i in range(n):
            species, waterbird = SPECIES[i % len(SPECIES)]
            own = (i // len(SPECIES) + 0.5) / -(-n // len(SPECIES)) < share
            water = bool(waterbird) == own
            picture, mask = paint(bool(waterbird), water, rng, side)
            name = f"{species}/{species[4:]}_{split}_{i:04d}"
            for kind, image, ending in (("", picture, "jpg"), ("segmentations", mask, "png")):
                path = folder / kind / f"{name}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path, quality=92)
            place = f"/{PLACES[water][0]}/{PLACES[water]}/{rng.integers(10**8):08d}.jpg"
            rows.append((len(rows) + 1, f"{name}.jpg", waterbird, split, int(water), place))
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("img_id", "img_filename", "y", "split", "place", "place_filename"))
        writer.writerows(rows)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=40, help="birds in each split")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{make(options.folder, options.n, options.seed)}: {3 * options.n} birds")
