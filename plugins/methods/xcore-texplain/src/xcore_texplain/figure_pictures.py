"""Pictures of several clouds: side by side, or in rows with images and bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from wordcloud import WordCloud

from xcore.contract import Samples

WIDE, HIGH, HEAD, GAP = 400, 250, 24, 12
"""Pixels of a cloud, of the line above it, and between two of them."""
SIDE = 78
"""Pixels of an image."""
COLOURS = 128
"""Colours of a saved picture."""


@dataclass(frozen=True)
class Row:
    """One row of a picture: images, bars and clouds, as far as there are any."""

    title: str
    images: Samples | None
    bars: Sequence[tuple[str, float]]
    """Name and share in [0, 1]."""
    clouds: Sequence[tuple[str, WordCloud | None]]
    """Title and cloud."""


def draw_grid(path: Path, clouds: Sequence[tuple[str, WordCloud | None]], columns: int = 3) -> None:
    """Draw clouds side by side, each with its title."""
    columns = 2 if len(clouds) == 4 else min(columns, len(clouds))
    rows = ceil(len(clouds) / columns)
    size = (columns * (WIDE + GAP) + GAP, rows * (HIGH + HEAD + GAP) + GAP)
    picture = Image.new("RGB", size, "white")
    for i, (title, cloud) in enumerate(clouds):
        y, x = divmod(i, columns)
        _paste(picture, GAP + x * (WIDE + GAP), GAP + y * (HIGH + HEAD + GAP), title, cloud)
    _save(picture, path)


def draw_rows(path: Path, rows: Sequence[Row], images: int = 6) -> None:
    """Draw rows of up to so many images, bars and clouds."""
    columns = 3 if images > 3 else images
    strip = columns * (SIDE + 4) if any(row.images is not None for row in rows) else 0
    bars = 330 if any(row.bars for row in rows) else 0
    clouds = max(len(row.clouds) for row in rows)
    width = GAP + strip + GAP + bars + clouds * (WIDE + GAP)
    height = HEAD + HIGH + 2 * GAP
    picture = Image.new("RGB", (width, len(rows) * height + GAP), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for i, row in enumerate(rows):
        y = GAP + i * height
        pen.text((GAP, y), row.title, "black", ImageFont.load_default(16))
        for j in range(0 if row.images is None else min(images, len(row.images))):
            down, right = divmod(j, columns)
            at = (GAP + right * (SIDE + 4), y + HEAD + down * (SIDE + 4))
            picture.paste(_image(row.images, j), at)
        for j, (name, share) in enumerate(row.bars):
            at_y, left = y + HEAD + j * 22, GAP + strip + GAP
            pen.text((left, at_y), name[:20], "black", font)
            pen.rectangle((left + 150, at_y + 2, left + 150 + 110 * share, at_y + 15), "#1f4e79")
            pen.text((left + 268, at_y), f"{share:.2f}", "black", font)
        for j, (title, cloud) in enumerate(row.clouds):
            _paste(picture, GAP + strip + GAP + bars + j * (WIDE + GAP), y, title, cloud)
    _save(picture, path)


def _paste(picture: Image.Image, x: int, y: int, title: str, cloud: WordCloud | None) -> None:
    pen = ImageDraw.Draw(picture)
    pen.text((x, y), title, "black", ImageFont.load_default(16))
    if cloud is None:
        pen.text((x, y + HEAD), "no word is frequent enough", "grey", ImageFont.load_default(13))
        return
    picture.paste(cloud.to_image().resize((WIDE, HIGH), Image.Resampling.LANCZOS), (x, y + HEAD))


def _image(samples: Samples | None, i: int) -> Image.Image:
    assert samples is not None
    array = (samples.images[i].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _save(picture: Image.Image, path: Path) -> None:
    picture.quantize(COLOURS).save(path, optimize=True)
