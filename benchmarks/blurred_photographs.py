"""A folder for `docs/failures.md`: crops of two photographs of scikit-image, some of them dark and some blurred.

    python benchmarks/blurred_photographs.py photos

Its metadata.csv names the class, the light (day or night) and whether the crop is blurred (1 or 0).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from skimage import data

SIDE = 256


def main(folder: Path) -> None:
    """Write the pictures and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for name, photograph, n in (("Egyptian cat", data.chelsea(), 240), ("espresso", data.coffee(), 120)):
        height, width = photograph.shape[:2]
        for i in range(n):
            side = int(rng.integers(int(0.75 * height), height))
            top = int(rng.integers(0, height - side + 1))
            left = int(rng.integers(int(0.1 * width), width - side + 1))
            crop = Image.fromarray(photograph[top : top + side, left : left + side])
            picture = crop.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            if rng.random() < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            light, blurred = str(rng.choice(["day", "night"])), int(rng.random() < 0.35)
            if light == "night":
                picture = picture.point(lambda v: int(v * 0.3))
            if blurred:
                picture = picture.filter(ImageFilter.GaussianBlur(6))
            noisy = np.asarray(picture) + rng.normal(0, 3, (SIDE, SIDE, 3))  # so that no two are copies
            file = f"{name.split()[0]}-{i}.jpg"
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / file, quality=90)
            rows.append({"file": file, "label": name, "light": light, "blurred": blurred})
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
