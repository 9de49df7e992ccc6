"""Pictures of a repair: flagged images with their masks, and the accuracies of all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from xcore_texplain.repair_options import TITLES

SIDE = 112
"""Pixels of one image."""


def draw_masked(path: Path, shown: Sequence[tuple[str, Sequence[Tensor]]]) -> None:
    """Columns of flagged images: the image, masked by the map of its word, and masked by the map of its class.

    Parameters
    ----------
    shown
        A word, and three images (3, H, W) in [0, 1], for each column.
    """
    from PIL import Image, ImageDraw, ImageFont

    left, top, gap = 96, 22, 4
    picture = Image.new("RGB", (left + len(shown) * (SIDE + gap), top + 3 * (SIDE + gap)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for row, name in enumerate(("image", "map of the\nword", "map of the\nclass")):
        pen.text((4, top + row * (SIDE + gap) + SIDE // 2 - 10), name, "black", font)
    for column, (word, images) in enumerate(shown):
        x = left + column * (SIDE + gap)
        pen.text((x, 4), word[:16], "black", font)
        for row, image in enumerate(images):
            array = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            picture.paste(
                Image.fromarray(array).resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, top + row * (SIDE + gap))
            )
    picture.save(path, optimize=True)


def draw_table(path: Path, seeds: Sequence[Mapping[str, Mapping[str, float]]], cures: Sequence[str]) -> None:
    """Accuracy on the worst group and on average: a dot for each seed, joined where they share the start."""
    from matplotlib.figure import Figure

    order = list(dict.fromkeys(["erm", *cures]))
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, what in zip(axes, ("worst", "average"), strict=True):
        for seed in seeds:
            known = [c for c in order if c in seed]
            places, values = [order.index(c) for c in known], [100 * seed[c][what] for c in known]
            axis.plot(values, places, "-", color="#b5bcc4", linewidth=0.8)
            axis.plot(values, places, "o", color="#1f4e79", markersize=4)
        axis.set_title("worst group" if what == "worst" else "average", fontsize=10)
        axis.set_xlabel("accuracy on test images, %", fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0].set_yticks(range(len(order)), [TITLES[c] for c in order])
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=90)
