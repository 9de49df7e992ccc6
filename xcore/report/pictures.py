"""Pictures of an explanation: a strip of images for each concept, and maps of where the concepts are in the explained
images; for text, the explained texts with highlighted words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from xcore.base.files import slug, write_json
from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Explanation
from xcore.report.highlighted import as_plain, highlight
from xcore.report.small_pictures import keep_gallery
from xcore.report.typeset import typeset

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

SIDE = 96
"""Height of one image in pixels."""
GAP = 4
"""Pixels between two images."""
PER_CONCEPT = 10
"""Images in the strip of one concept."""
FAST = 1
"""How hard PNG files are compressed. Beside the usual 6, two strips took 10.3 instead of 34.6 ms and 17.6 instead of
20.1 ms, for files that were 15 and 6 % larger."""
SHOWN = 3
"""Concepts in the overview pictures, as in the table."""
MAPPED = 6
"""Explained images in the picture of maps."""
STRIPS = "concepts"
"""The folder of the strips, one for each concept: ``01-stripes.png``."""
TEXTS_FILE = "marked.json"
"""The highlighted texts, beside the record of their explanation."""


def draw(explanation: Explanation, samples: Samples, directory: Path) -> None:
    """Write the pictures of an explanation into a directory.

    For images: ``concepts.png`` (a row for each of the top concepts), ``maps.png`` (where they are in the explained
    images, if the method says so) and in ``concepts/`` one strip for each concept. For text: ``marked.png``, and
    ``marked.json`` with the same texts as data (see `xcore.report.highlighted`). For both, what the page of the run
    shows of them (see `xcore.report.small_pictures`).

    Parameters
    ----------
    explanation
        Its concepts without images are left out of the pictures.
    samples
        The explained samples, to which the concepts' maps refer.
    directory
        An existing directory.
    """
    if explanation.explained is not None:
        found = highlight(explanation)
        write_json(directory / TEXTS_FILE, as_plain(found), sync=False)
        typeset(found).save(directory / "marked.png")
    keep_gallery(explanation, samples, directory)
    drawn = _drawable(explanation)
    if not drawn:
        return
    (directory / STRIPS).mkdir()
    strips = [_concept_strip(i, concept) for i, concept in drawn]
    for (i, concept), strip in zip(drawn, strips, strict=True):
        strip.save(directory / STRIPS / f"{i + 1:02d}-{slug(concept.name)}.png", compress_level=FAST)
    _stack(strips[:SHOWN]).save(directory / "concepts.png", compress_level=FAST)
    mapped = [(i, c) for i, c in drawn[:SHOWN] if c.maps is not None and c.maps.any()]
    if mapped and samples.modality == "image":
        _places(mapped, samples).save(directory / "maps.png", compress_level=FAST)


def gallery(explanation: Explanation) -> bytes | None:
    """The top concepts as one PNG picture, or the highlighted texts; None if there are neither images nor texts."""
    import io

    drawn = _drawable(explanation)[:SHOWN]
    if drawn:
        picture = _stack([_concept_strip(i, concept) for i, concept in drawn])
    elif explanation.explained is not None:
        picture = typeset(highlight(explanation))
    else:
        return None
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def overlay(image: Tensor, heat: Tensor, top: float) -> Tensor:
    """Lay a map (H, W) >= 0 over an image (3, H, W) in [0, 1]: the image turns grey, and red where the map is high.

    The map is divided by `top`, the maximum of the concept's maps over all images: a concept is pale where it is weak.
    """
    import torch

    weight = (heat / top if top > 0 else heat).clamp(0, 1)
    grey = image.mean(0, keepdim=True).expand(3, -1, -1) * 0.6 + 0.25
    red = torch.tensor([0.85, 0.1, 0.1]).view(3, 1, 1)
    return grey * (1 - 0.8 * weight) + red * 0.8 * weight


def _drawable(explanation: Explanation) -> list[tuple[int, Concept]]:
    concepts = enumerate(explanation.concepts)
    return [(i, c) for i, c in concepts if c.samples is not None and c.samples.modality == "image"]


def _concept_strip(index: int, concept: Concept) -> Image.Image:
    rank = f"C{index + 1}"
    title = concept.name if concept.name.startswith(rank) else f"{rank} {concept.name}"
    return _strip(_tiles(concept.samples), title)


def _places(mapped: list[tuple[int, Concept]], samples: Samples) -> Image.Image:
    """One row for each explained image: the image, a picture of each concept, and each concept's map over the image.

    The picture of a concept was cut from this image, or from no explained image; where there is none such, it is empty.
    """
    rows, tops = [], [float(c.maps.max()) for _, c in mapped if c.maps is not None]
    for row, n in enumerate(mapped_images([c for _, c in mapped], len(samples))):
        image = samples.images[n]
        tiles = [_tile(image)]
        tiles += [_own_tile(c, n, row) for _, c in mapped]
        maps = [c.maps[n] for _, c in mapped if c.maps is not None]
        tiles += [_tile(overlay(image, heat, top)) for heat, top in zip(maps, tops, strict=True)]
        rows.append(_strip(tiles, ""))
    names = " ".join(f"C{i + 1}" for i, _ in mapped)
    return _stack([_label(f"image | {names} | maps of {names}", rows[0].width), *rows])


def mapped_images(concepts: Sequence[Concept], n: int, most: int = MAPPED) -> list[int]:
    """The indices of the images on which maps are shown, `most` of n.

    First come the images from which the concepts' samples were cut, taking turns between concepts; then the others.
    """
    own = [[i for i in c.source.tolist() if i >= 0] if c.source is not None else [] for c in concepts]
    turns = [i for turn in zip_longest(*own) for i in turn if i is not None]
    return list(dict.fromkeys([*turns, *range(n)]))[:most]


def _own_tile(concept: Concept, n: int, row: int) -> Image.Image:
    """The concept's sample that was cut from image n; one by row if samples come from no image; else an empty tile."""
    import torch

    assert concept.samples is not None  # others are not drawn
    sources, images = [] if concept.source is None else concept.source.tolist(), concept.samples.images
    if n in sources:
        return _tile(images[sources.index(n)])
    return _tile(torch.ones_like(images[0]) if max(sources, default=-1) >= 0 else images[row % len(images)])


def _tiles(samples: Samples | None) -> list[Image.Image]:
    return [] if samples is None else [_tile(image) for image in samples.images[:PER_CONCEPT]]


def _tile(image: Tensor) -> Image.Image:
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels)
    width = max(1, round(SIDE * picture.width / picture.height))
    # Nearest-neighbour interpolation would show the pixels of a small image rather than its content.
    return picture.resize((width, SIDE), Image.Resampling.BICUBIC)


def _strip(tiles: list[Image.Image], title: str) -> Image.Image:
    from PIL import Image

    width = sum(t.width + GAP for t in tiles) + GAP
    picture = Image.new("RGB", (width, SIDE + 2 * GAP), "white")
    left = GAP
    for tile in tiles:
        picture.paste(tile, (left, GAP))
        left += tile.width + GAP
    return _stack([_label(title, width), picture]) if title else picture


def _label(text: str, width: int) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (width, 20), "white")
    printable = text.encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(picture).text((GAP, 3), printable, fill="black", font=ImageFont.load_default(13))
    return picture


def _stack(rows: list[Image.Image]) -> Image.Image:
    from PIL import Image

    picture = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    return picture
