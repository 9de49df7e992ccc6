"""The small pictures of an explanation that the page of a run shows, kept beside its record as ``gallery.json``.

They are made when the explanation is drawn, since only then the explained images are at hand. Records of older runs
lack the file: their pictures are made from their tensors, without the explained images.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.files import read_json, write_json
from xcore.contract.samples import Samples
from xcore.contract.types import Explanation

if TYPE_CHECKING:
    import numpy as np

    Pixels = np.ndarray[Any, Any]

GALLERY_FILE = "gallery.json"
FORMAT = 1
SIDE = 96
"""Height of a picture in pixels, at most."""
HEAT_SIDE = 48
"""Height of a map in pixels, at most: a map is smooth, and is shown over an image."""
LEVELS = 16
"""Shades of a map."""
QUALITY = 82
CONCEPTS = 5
"""Concepts of which pictures are kept."""
TILES = 6
"""Pictures of one concept."""
MAPPED = 3
"""Concepts of which maps are kept."""
IMAGES = 6
"""Explained images that are kept: the first ones, so that all methods show their maps on the same images."""


@dataclass(frozen=True)
class KeptConcept:
    """The pictures of one concept, as data URIs."""

    tiles: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    """One for each of the explained images: transparent where the concept is not, and red where it is."""


@dataclass(frozen=True)
class Gallery:
    """The pictures of one explanation."""

    images: tuple[str, ...] = ()
    """The explained images, as data URIs; none if they were not kept, or are texts."""
    names: tuple[str, ...] = ()
    """What the images are called in their data set."""
    concepts: Mapping[int, KeptConcept] | None = None
    """Index of the concept -> its pictures."""

    def of(self, concept: int) -> KeptConcept:
        """The pictures of a concept; none if there are none."""
        return (self.concepts or {}).get(concept, KeptConcept())


def keep_gallery(explanation: Explanation, samples: Samples, directory: Path) -> None:
    """Write the pictures of an explanation into the folder of its record; nothing if there are none."""
    concepts: dict[str, Any] = {}
    for index, concept in enumerate(explanation.concepts[:CONCEPTS]):
        tiles, heat = [], []
        if concept.samples is not None and concept.samples.modality == "image":
            tiles = [picture(image) for image in _bytes(concept.samples.images[:TILES])]
        if index < MAPPED and concept.maps is not None and samples.modality == "image":
            top = float(concept.maps.max())
            heat = _heat(concept.maps[:IMAGES].float().cpu().numpy(), top)
        if tiles or heat:
            concepts[str(index)] = {"tiles": tiles, "maps": heat}
    images = [picture(image) for image in _bytes(samples.images[:IMAGES])] if samples.modality == "image" else []
    if images or concepts:
        names = list(samples.ids[: len(images)])
        kept = {"format": FORMAT, "images": images, "names": names, "concepts": concepts}
        write_json(directory / GALLERY_FILE, kept, sync=False)


def read_gallery(record: Path, concepts: Sequence[Mapping[str, Any]]) -> Gallery:
    """The pictures of the explanation in a record.

    Parameters
    ----------
    record
        Its folder.
    concepts
        The concepts as ``record.json`` has them, for records that lack the file.
    """
    path = record / GALLERY_FILE
    if not path.is_file():
        return _from_tensors(record, concepts)
    plain = read_json(path, ("format", "images", "names", "concepts"))
    kept = {int(i): KeptConcept(tuple(own["tiles"]), tuple(own["maps"])) for i, own in plain["concepts"].items()}
    return Gallery(tuple(plain["images"]), tuple(plain["names"]), kept)


def picture(pixels: Pixels, side: int = SIDE) -> str:
    """An image (H, W, 3) of bytes as a data URI, at most `side` pixels high."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if image.height > side:
        size = (max(1, round(image.width * side / image.height)), side)
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return _webp(image)


def file_picture(path: Path, width: int) -> str:
    """The picture in a file as a data URI, at most `width` pixels wide; an SVG file stays as it is."""
    from PIL import Image

    if path.suffix.lower() == ".svg":
        return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    return _webp(image)


def _webp(image: Any) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _bytes(images: Any) -> Iterable[Pixels]:
    """Images (n, 3, H, W) in [0, 1] as arrays (H, W, 3) of bytes."""
    pixels: Pixels = (images.detach().cpu().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return iter(pixels)


def _heat(maps: Pixels, top: float) -> list[str]:
    """Maps (n, H, W) >= 0 as pictures of one colour, whose opacity is the map divided by `top`."""
    import numpy as np
    from PIL import Image

    found = []
    for heat in maps:
        share = np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)
        image = Image.fromarray(np.rint(share * 255).astype(np.uint8))
        if image.height > HEAT_SIDE:
            size = (max(1, round(image.width * HEAT_SIDE / image.height)), HEAT_SIDE)
            image = image.resize(size, Image.Resampling.BILINEAR)
        shades = Image.fromarray(np.rint(np.asarray(image) / 255 * (LEVELS - 1)).astype(np.uint8)).convert("P")
        shades.putpalette([217, 26, 26] * LEVELS)
        file = io.BytesIO()
        opacity = bytes(round(255 * level / (LEVELS - 1)) for level in range(LEVELS))
        shades.save(file, "PNG", transparency=opacity, bits=4, optimize=True)
        found.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii"))
    return found


def _from_tensors(record: Path, concepts: Sequence[Mapping[str, Any]]) -> Gallery:
    """The pictures of a record that has no gallery, without torch; without the explained images, which it lacks."""
    path = record / "tensors.safetensors"
    if not path.is_file():
        return Gallery()
    from safetensors import safe_open

    kept = {}
    with safe_open(path, "np") as tensors:
        names = set(tensors.keys())
        for index, concept in enumerate(concepts[:CONCEPTS]):
            samples = concept.get("samples") or {}
            place = samples.get("data")
            name = place.get("tensor", "") if isinstance(place, Mapping) else ""
            if name in names:
                part = tensors.get_slice(name)
                pixels = part[: min(TILES, part.get_shape()[0])]  # it refuses an end beyond the last one
                kept[index] = KeptConcept(tuple(picture(image.transpose(1, 2, 0)) for image in pixels))
    return Gallery(concepts=kept)
