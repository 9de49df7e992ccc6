"""The picture of a shift: a bar with its interval for each concept, and beside it pictures with the maps of both."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GAINED, LOST, SAME, INK = "#2b6cb0", "#c05621", "#cbd2da", "#1a202c"
MOST = 30
"""Concepts in a chart; of more the first half and the last half are shown."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Pictures in which a concept is most present, with the maps of the class by both classifiers."""

    concept: str
    changed: str
    pictures: Tensor
    """(m, 3, H, W) in [0, 1]."""
    maps: tuple[Tensor, Tensor] | None
    """The pictures with the maps of A, and with those of B, as pictures; None where there are none."""


def draw(path: Path, title: str, unit: str, rows: Sequence[dict[str, Any]], strips: Sequence[Strip]) -> Path:
    """Draw what gained and what lost as a PNG file, and return its path.

    Parameters
    ----------
    rows
        As `shift_rows.Shift.rows` gives them.
    strips
        What is shown beside the bars; none for texts.
    """
    from matplotlib.figure import Figure

    left_out = len(rows) - MOST
    shown = rows if left_out <= 0 else [*rows[: MOST // 2], *rows[-MOST // 2 :]]
    height = max(1.4 + 0.21 * len(shown), 1.2 + 2.1 * -(-len(strips) // 2))
    figure = Figure(figsize=(13 if strips else 7.5, height), layout="constrained")
    halves: list[Any] = list(figure.subfigures(1, 2, width_ratios=(7, 6), squeeze=False).flat) if strips else [figure]
    bars = halves[0]
    axes = bars.subplots()
    for y, row in enumerate(shown):
        color = {"gained": GAINED, "lost": LOST}.get(row["changed"], SAME)
        axes.barh(y, row["difference"], color=color, height=0.7)
        lo, hi = row["difference_lo"], row["difference_hi"]
        if isfinite(lo) and isfinite(hi):
            axes.plot([lo, hi], [y, y], color=INK, linewidth=1)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), [textwrap.shorten(str(r["concept"]), 34, placeholder="...") for r in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("\n".join(textwrap.wrap(f"B - A: {unit} (line: 95 % interval)", 76)), fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    between = f"; {left_out} concepts in the middle are left out" if left_out > 0 else ""
    said = f"{title}\nblue gained, orange lost, grey is not shown to have changed{between}"
    bars.suptitle("\n".join(line for part in said.splitlines() for line in textwrap.wrap(part, 90)), fontsize=9)
    if strips:
        _draw_strips(halves[1], strips)
    figure.savefig(path, dpi=90)
    return path


def _draw_strips(figure: Any, strips: Sequence[Strip]) -> None:
    """A block for each concept: pictures that show it most, and below them the maps of the class by A and by B."""
    columns = 2 if len(strips) > 1 else 1
    grid = figure.subplots(-(-len(strips) // columns), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, strip in zip(grid.flat, strips, strict=False):
        lines = [("", strip.pictures), *zip(("A", "B"), strip.maps or (), strict=False)]
        picture = [beside(pictures) for _, pictures in lines]
        white = np.ones((max(1, picture[0].shape[0] // 16), *picture[0].shape[1:]), dtype=np.float32)
        axes.imshow(np.concatenate([part for row in picture for part in (row, white)][:-1]))
        for i, (name, _) in enumerate(lines):
            y = (i + 0.5) * (picture[0].shape[0] + len(white))
            axes.text(-4, y, name, ha="right", va="center", fontsize=8)
        color = {"gained": GAINED, "lost": LOST}.get(strip.changed, INK)
        axes.set_title(textwrap.shorten(strip.concept, 40, placeholder="..."), fontsize=8, color=color)
    if any(s.maps for s in strips):
        figure.suptitle("pictures that show the concept most, and where A and B see the class", fontsize=9)


def beside(pictures: Tensor) -> NDArray[np.float32]:
    """Pictures (m, 3, H, W) beside one another, with white between them, as (H, all widths, 3)."""
    white = torch.ones(3, pictures[0].shape[1], max(1, pictures[0].shape[2] // 16))
    row = torch.cat([part for picture in pictures for part in (picture, white)][:-1], 2)
    return np.ascontiguousarray(row.permute(1, 2, 0).clamp(0, 1).numpy())
