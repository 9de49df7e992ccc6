"""Makes pictures for the suite `imagenet-lite`, outside the repository: animals, painted textures and photographs.

``python benchmarks/photographs.py OUT`` writes four folders:

- ``animals/CLASS``: photographs of animals, cut out, on varied backgrounds. They are those of Debian's package
  tuxpaint-stamps-default (``apt-get download tuxpaint-stamps-default``, then ``dpkg-deb -x FILE DIR`` and
  ``--stamps DIR/usr/share/tuxpaint/stamps``). The backgrounds are painted, or parts of scikit-image's photographs.
- ``masks/CLASS``: where the animal is in each of these pictures, white on black.
- ``textures/CONCEPT``: painted textures, all by one painter: the same sizes, brush, canvas and light.
- ``photographs``: those that scikit-image comes with, at their own sizes.

All follows from the seed. With ``--check`` it prints how often `efficientnet-lite0` recognises each animal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

Array = NDArray[np.float64]
Rng = np.random.Generator
STAMPS = Path("/usr/share/tuxpaint/stamps")
ANIMALS = {
    "Arabian_camel": ("camel/camel", "camel/dromedary"),
    "badger": ("badger",),
    "beaver": ("rodents/beaver",),
    "bison": ("bovines/bison",),
    "brown_bear": ("bears/european-bear", "bears/bear"),
    "fox_squirrel": ("rodents/squirrel",),
    "hare": ("rodents/rabbit", "rodents/rabbit-2"),
    "hog": ("pig", "pig_golden"),
    "otter": ("aquatic/otter",),
    "sea_lion": ("aquatic/sea_lion",),
    "tiger": ("cats/tiger", "cats/tiger_sumatran"),
    "zebra": ("equines/zebra",),
}
"""Class (one of ImageNet's names) -> its pictures below ``animals/mammals``."""

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "motorcycle_left", "hubble_deep_field", "coins")
GROUNDS = ("gravel", "grass", "brick")
SCENES = ("astronaut", "coffee", "rocket", "motorcycle_left", "chelsea")
"""Photographs whose parts make backgrounds: near and grey ones, which are tinted, and far ones, out of focus."""


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description="Makes the pictures of the suite imagenet-lite.")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--stamps", type=Path, default=STAMPS, help="stamps of Debian's tuxpaint-stamps-default")
    parser.add_argument("--animals", type=int, default=45, help="pictures of each animal")
    parser.add_argument("--textures", type=int, default=40, help="pictures of each texture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="print how often efficientnet-lite0 recognises an animal")
    args = parser.parse_args()
    if not (args.stamps / "animals").is_dir():
        sys.exit(
            f"there are no stamps in {args.stamps}: install Debian's tuxpaint-stamps-default, or name --stamps DIR"
        )
    write_animals(args.out / "animals", args.out / "masks", args.stamps, args.animals, args.seed)
    write_textures(args.out / "textures", args.textures, args.seed)
    write_photographs(args.out / "photographs")
    print(f"{args.out}: {len(ANIMALS)} animals, {len(PAINTERS)} textures, {len(PHOTOGRAPHS)} photographs")
    if args.check:
        check(args.out / "animals")


# -- animals on backgrounds --------------------------------------------------------------------------------------------


def write_animals(folder: Path, masks: Path, stamps: Path, n: int, seed: int) -> None:
    """Write n pictures of each animal, on backgrounds of all kinds in turn, and where the animal is."""
    grounds, scenes = [photograph(name) for name in GROUNDS], [photograph(name) for name in SCENES]
    for number, (name, files) in enumerate(ANIMALS.items()):
        for place in (folder, masks):
            (place / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            rng = np.random.default_rng([seed, 1, number, i])
            cut_out = stamps / "animals" / "mammals" / f"{files[i % len(files)]}.png"
            behind = grounds if i % 4 == 2 else scenes
            picture, mask = composed(Image.open(cut_out).convert("RGBA"), i % 4, behind, rng)
            picture.save(folder / name / f"{i:03d}.jpg", quality=93)
            mask.save(masks / name / f"{i:03d}.png")


def composed(animal: Image.Image, kind: int, scenes: list[Image.Image], rng: Rng) -> tuple[Image.Image, Image.Image]:
    """One animal near the middle of a background of its own size and proportions, and where the animal is."""
    short = int(rng.integers(230, 400))
    long = int(short * rng.uniform(1, 1.5))
    size = (long, short) if rng.random() < 0.75 else (short, long)
    behind = background(kind, size, scenes, rng)
    if rng.random() < 0.5:
        animal = animal.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    animal = animal.crop(animal.getbbox())
    animal = animal.rotate(rng.uniform(-6, 6), resample=Image.Resampling.BICUBIC, expand=True)
    # It fills most of what is left of the picture after a crop to the middle square.
    scale = short * rng.uniform(0.72, 0.85) / max(animal.size)
    animal = animal.resize((round(animal.width * scale), round(animal.height * scale)), Image.Resampling.LANCZOS)
    room = 0.04 * short
    left = (size[0] - animal.width) / 2 + rng.uniform(-room, room)
    top = (size[1] - animal.height) / 2 + rng.uniform(-room, room)
    at = (round(left), round(top))
    shadow = Image.new("L", size, 0)
    shadow.paste(animal.getchannel("A").point(lambda a: int(a * 0.35)), (at[0], at[1] + round(0.03 * short)))
    behind.paste((20, 20, 20), mask=shadow.filter(ImageFilter.GaussianBlur(0.03 * short)))
    behind.paste(animal, at, animal)
    mask = Image.new("L", size, 0)
    mask.paste(animal.getchannel("A"), at)
    picture = ImageEnhance.Brightness(behind).enhance(rng.uniform(0.85, 1.15))
    return ImageEnhance.Contrast(picture).enhance(rng.uniform(0.9, 1.1)), mask


def background(kind: int, size: tuple[int, int], scenes: list[Image.Image], rng: Rng) -> Image.Image:
    """A background: 0 sky over ground, 1 foliage, 2 tinted ground, 3 a part of a photograph that is out of focus."""
    width, height = size
    if kind == 0:
        sky, ground = rng.uniform((150, 170, 190), (210, 220, 250)), rng.uniform((80, 90, 40), (200, 180, 130))
        horizon = rng.uniform(0.35, 0.65) * height + 0.04 * height * noise(1, width, 60, rng)[0]
        below = 1 / (1 + np.exp(-(np.arange(height)[:, None] - horizon) / 4))
        grain = 1 + 0.06 * noise(height, width, 3, rng) + 0.08 * noise(height, width, 40, rng)
        return image_of((sky * (1 - below[..., None]) + ground * below[..., None]) * grain[..., None])
    if kind == 1:
        dark, light = rng.uniform((20, 40, 10), (50, 70, 30)), rng.uniform((90, 130, 40), (160, 180, 90))
        leaves = sum(noise(height, width, step, rng) for step in (4, 9, 20)) / 3
        share = np.clip(0.5 + 0.4 * leaves, 0, 1)[..., None]
        return image_of(dark * (1 - share) + light * share)
    scene = scenes[int(rng.integers(len(scenes)))]
    share = rng.uniform(0.5, 0.9)
    factor = min(scene.width / width, scene.height / height) * share
    w, h = int(width * factor), int(height * factor)
    left, top = int(rng.integers(scene.width - w + 1)), int(rng.integers(scene.height - h + 1))
    part = scene.crop((left, top, left + w, top + h)).resize(size, Image.Resampling.BICUBIC)
    if kind == 3:
        return part.filter(ImageFilter.GaussianBlur(min(size) * rng.uniform(0.05, 0.08)))
    tint = rng.uniform((0.75, 0.75, 0.45), (1.1, 1.1, 0.8))
    return image_of(np.asarray(part.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 3))), dtype=float) * tint)


# -- painted textures --------------------------------------------------------------------------------------------------

Pattern = Callable[[Array, Array, Rng], Array]
"""(x, y, rng) -> the share of the second colour at these places, in [0, 1]; one unit is one repeat of the pattern."""


def edge(values: Array) -> Array:
    """A soft step at 0."""
    return 1 / (1 + np.exp(-np.clip(values * 14, -50, 50)))


def stripes(x: Array, y: Array, rng: Rng) -> Array:
    """Bars of about equal width."""
    return edge(np.cos(2 * np.pi * x) + rng.uniform(-0.2, 0.2))


def spots(x: Array, y: Array, rng: Rng) -> Array:
    """Round spots in rows."""
    row = np.floor(y)
    dx, dy = (x + 0.5 * row) % 1 - 0.5, y % 1 - 0.5
    return edge((rng.uniform(0.28, 0.36) - np.hypot(dx, dy)) * 4)


def checks(x: Array, y: Array, rng: Rng) -> Array:
    """A chessboard."""
    return edge(np.sin(np.pi * x) * np.sin(np.pi * y) * 3)


def zigzag(x: Array, y: Array, rng: Rng) -> Array:
    """Bars with corners."""
    return edge(np.cos(2 * np.pi * (x + 0.5 * np.abs((y * 0.8) % 2 - 1))))


def bricks(x: Array, y: Array, rng: Rng) -> Array:
    """Bricks: the first colour is the mortar."""
    row = np.floor(y * 2)
    dx, dy = np.abs((x + 0.5 * row) % 1 - 0.5), np.abs((y * 2) % 1 - 0.5)
    return edge(np.minimum(0.46 - dx, (0.42 - dy) / 2) * 12)


def mesh(x: Array, y: Array, rng: Rng) -> Array:
    """Thin lines that cross."""
    return edge((0.1 - np.minimum(np.abs(x % 1 - 0.5), np.abs(y % 1 - 0.5))) * 10)


def scales(x: Array, y: Array, rng: Rng) -> Array:
    """Overlapping arcs, like those of a fish."""
    row = np.floor(y * 2)
    dx, dy = (x + 0.5 * row) % 1 - 0.5, (y * 2) % 1
    return edge((0.1 - np.abs(np.hypot(dx, dy * 0.6) - 0.5)) * 8)


def strokes(x: Array, y: Array, rng: Rng) -> Array:
    """Short strokes along y, like grass."""
    h, w = x.shape
    fine = noise(h, w, 3, rng)
    return edge(fine + 0.6 * np.sin(9 * x + 4 * noise(h, w, 25, rng)))


def clouds(x: Array, y: Array, rng: Rng) -> Array:
    """Soft patches."""
    h, w = x.shape
    return edge((noise(h, w, 40, rng) + 0.5 * noise(h, w, 15, rng)) * 0.15)


def plain(x: Array, y: Array, rng: Rng) -> Array:
    """One colour."""
    return np.zeros_like(x)


PAINTERS: dict[str, tuple[Pattern, tuple[int, int, int], tuple[int, int, int]]] = {
    "bricks": (bricks, (205, 200, 190), (165, 75, 55)),
    "checks-black-white": (checks, (238, 236, 230), (25, 24, 26)),
    "clouds": (clouds, (110, 160, 225), (240, 242, 245)),
    "grass": (strokes, (50, 110, 35), (130, 180, 60)),
    "mesh": (mesh, (205, 205, 200), (60, 62, 70)),
    "plain-brown": (plain, (125, 85, 50), (125, 85, 50)),
    "plain-grey": (plain, (140, 140, 142), (140, 140, 142)),
    "scales": (scales, (60, 140, 140), (20, 60, 80)),
    "spots-black-white": (spots, (238, 236, 230), (25, 24, 26)),
    "stripes-black-white": (stripes, (238, 236, 230), (25, 24, 26)),
    "stripes-red-yellow": (stripes, (240, 205, 50), (190, 40, 35)),
    "zigzag-blue-white": (zigzag, (235, 236, 240), (45, 80, 165)),
}
"""Texture -> its pattern and its two colours."""


def write_textures(folder: Path, n: int, seed: int) -> None:
    """Write n pictures of each texture; the i-th ones of all have the same size, slant, wobble, light and canvas."""
    for name in PAINTERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            painted(name, [seed, 2, i]).save(folder / name / f"{i:03d}.jpg", quality=93)


def painted(name: str, seed: list[int]) -> Image.Image:
    """One painting: the pattern, drawn by a hand that wobbles, with a brush whose hairs show, on canvas."""
    pattern, first, second = PAINTERS[name]
    rng = np.random.default_rng(seed)
    short = int(rng.integers(240, 360))
    size = (int(short * rng.uniform(1, 1.4)), short)
    width, height = size if rng.random() < 0.7 else size[::-1]
    y, x = np.mgrid[:height, :width].astype(float)
    wobble = short * 0.02
    x, y = x + wobble * noise(height, width, 45, rng), y + wobble * noise(height, width, 45, rng)
    turn, repeat = rng.uniform(0, np.pi), short * rng.uniform(0.11, 0.2)
    along, across = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    share = pattern(along / repeat, across / repeat, rng)
    a, b = (np.array(c) + rng.normal(0, 8, 3) for c in (first, second))
    colour = a * (1 - share[..., None]) + b * share[..., None]
    brush = directed(noise(height, width, 1, rng), 9) + 0.5 * noise(height, width, 2, rng)
    light = 1 + rng.uniform(0.05, 0.15) * noise(height, width, short / 2, rng)
    picture = image_of(colour * light[..., None] + 9 * brush[..., None])
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def directed(grain: Array, length: int) -> Array:
    """Grain, smeared along the rows as by a brush, with standard deviation 1."""
    total = np.cumsum(np.pad(grain, ((0, 0), (length, 0))), axis=1)
    smeared = total[:, length:] - total[:, :-length]
    return np.asarray(smeared / smeared.std())


# -- shared ------------------------------------------------------------------------------------------------------------


def noise(height: int, width: int, step: float, rng: Rng) -> Array:
    """Smooth noise (height, width) with one random value in `step` pixels, mean 0 and standard deviation 1."""
    h, w = max(2, int(height / step) + 2), max(2, int(width / step) + 2)
    coarse = Image.fromarray(rng.normal(size=(h, w)).astype(np.float32), mode="F")
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    return np.asarray((fine - fine.mean()) / (fine.std() or 1))


def image_of(values: Array) -> Image.Image:
    """The picture of values (height, width, 3) in [0, 255]."""
    return Image.fromarray(np.clip(values, 0, 255).round().astype(np.uint8))


def photograph(name: str) -> Image.Image:
    """A photograph that scikit-image comes with."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    path = next(p for p in sorted(folder.glob(f"{name}.*")) if p.suffix in (".png", ".jpg"))
    return Image.open(path).convert("RGB")


def write_photographs(folder: Path) -> None:
    """Write scikit-image's photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        photograph(name).save(folder / f"{name}.png")


def check(folder: Path) -> None:
    """Print how often the network's first class, of all 1000, is the animal."""
    import torch

    from xcore import session
    from xcore.contract import Ref, Samples
    from xcore.inputs.class_names import find_class
    from xcore.inputs.images import read_picture

    classifier = session.make("classifier", Ref("efficientnet-lite0"))
    for name in ANIMALS:
        files = sorted((folder / name).glob("*.jpg"))
        pixels = torch.stack([read_picture(file, classifier.framing) for file in files])
        logits = classifier.logits(Samples("image", pixels, tuple(file.name for file in files)))
        index = classifier.classes.index(find_class(name, classifier.classes, classifier.aliases))
        right = (logits.argmax(1) == index).float().mean()
        probability = logits.softmax(1)[:, index].mean()
        print(f"{name}: {right:.0%} recognised, mean probability {probability:.2f}")


if __name__ == "__main__":
    main()
