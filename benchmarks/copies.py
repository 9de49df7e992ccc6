"""How well copies of pictures are told from different pictures: the table on docs/data.md.

`python benchmarks/copies.py STAMPS`, where STAMPS is the folder of Debian's package tuxpaint-stamps-default. Its first
half, on which the bounds were chosen, is printed for comparison.
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_digits

from xcore.inputs.copies import description, groups
from xcore.inputs.images import Picture, Unreadable, as_rgb

LIMIT = 10**9
FILTERS = Image.Resampling
TEXTURES = ("brick", "grass", "gravel", "coins", "page", "text", "cell", "moon")
TILED = (*TEXTURES, "astronaut", "coffee", "chelsea", "rocket")


def copies_of(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    """The copies of a picture, each with the column of the table that it belongs to."""

    def saved(image: Image.Image, kind: str, **how: int) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **how)
        return file.getvalue()

    for quality in (30, 50, 75, 95):
        yield "saved anew", saved(picture, "JPEG", quality=quality)
    yield "saved anew", saved(picture, "WEBP", quality=60)
    yield "saved anew", saved(picture, "GIF")
    for scale, column in ((0.25, "25 %"), (0.5, "50 %"), (1.5, "150 % or 224")):
        size = max(8, int(picture.width * scale)), max(8, int(picture.height * scale))
        yield column, saved(picture.resize(size, FILTERS.BICUBIC), "PNG")
        yield column, saved(picture.resize(size, FILTERS.LANCZOS), "JPEG", quality=75)
    yield "150 % or 224", saved(picture.resize((224, 224), FILTERS.BICUBIC), "JPEG", quality=85)


def report(name: str, pictures: Sequence[Picture], every: int, smallest: int = 40) -> None:
    """Print how many different pictures are joined, and how many copies of every n-th one are missed."""
    described = np.stack([description(picture, LIMIT) for picture in pictures])
    joined = [i for i, first in enumerate(groups(described)) if first != i]
    missed, of = Counter[str](), Counter[str]()
    for picture, own in zip(pictures[::every], described[::every], strict=True):
        image = Image.open(picture) if isinstance(picture, Path) else Image.fromarray(np.asarray(picture))
        if min(image.size) >= smallest:
            for column, copy in copies_of(as_rgb(image)):
                missed[column] += int(groups(np.stack([own, description(copy, LIMIT)]))[1] != 0)
                of[column] += 1
    counts = ", ".join(f"{column} {missed[column]} of {of[column]}" for column in of)
    print(f"{name}: {len(pictures)} pictures, {len(joined)} joined; copies missed: {counts or 'not tried'}")


def readable(paths: Sequence[Path]) -> list[Path]:
    found = []
    for path in paths:
        try:
            description(path, LIMIT)
            found.append(path)
        except Unreadable:
            pass
    return found


def tiles(root: Path) -> list[Picture]:
    """Pieces of 64 x 64 of photographs and textures that do not overlap."""
    found: list[Picture] = []
    for name in TILED:
        pixels = np.asarray(as_rgb(Image.open(next(root.glob(f"{name}.*")))))
        for top in range(0, pixels.shape[0] - 63, 64):
            found += [pixels[top : top + 64, left : left + 64].copy() for left in range(0, pixels.shape[1] - 63, 64)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stamps", type=Path)
    warnings.simplefilter("ignore")
    stamps = sorted(parser.parse_args().stamps.rglob("*.png"))
    stamps = [path for path in stamps if "_mirror" not in path.name and "_flip" not in path.name]
    root = Path(skimage.data.__file__).parent
    photographs = readable([p for p in sorted(root.iterdir()) if p.suffix in (".png", ".jpg", ".gif", ".tif")])
    faces = (np.load(root / "lfw_subset.npy") * 255).astype(np.uint8)
    report("stamps on which the bounds were chosen", stamps[::2], 4)
    report("the other stamps", stamps[1::2], 4)
    report("scikit-image", photographs, 1)
    report("tiles of 64 x 64", tiles(root), 20)
    report("faces of 25 x 25", list(faces), 10, 0)
    report("digits of 8 x 8", [(digit * 15.9).astype(np.uint8) for digit in load_digits().images], 1, 10**9)


if __name__ == "__main__":
    main()
