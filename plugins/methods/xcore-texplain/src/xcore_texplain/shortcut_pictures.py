"""The picture of shortcuts: words with the images about which they are said most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xcore.contract import Concept, Samples

SIDE = 96
"""Pixels of one image."""


def draw_words(path: Path, words: Sequence[tuple[Concept, str]], samples: Samples, images: int) -> None:
    """Rows of words with their verdicts, each with the images in whose sentences the word is most frequent."""
    from PIL import Image, ImageDraw, ImageFont

    left, gap = 150, 4
    picture = Image.new("RGB", (left + images * (SIDE + gap), len(words) * (SIDE + gap)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for row, (word, verdict) in enumerate(words):
        y = row * (SIDE + gap)
        pen.text((4, y + SIDE // 2 - 24), f"{word.name}\n{verdict.replace(' and ', chr(10) + 'and ')}", "black", font)
        if word.local is None:
            continue
        best = sorted(range(len(samples)), key=lambda i: (-float(word.local[i]), i))[:images]  # type: ignore[index]
        for column, i in enumerate(best):
            array = (samples.images[i].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            made = Image.fromarray(array).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            picture.paste(made, (left + column * (SIDE + gap), y))
    picture.save(path, optimize=True)
