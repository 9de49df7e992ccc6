"""The chart of evidence: a bar with its interval for each phrase; and pictures high and low in each phrase."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore_evidence.estimates import Evidence

RAISES, LOWERS, UNSHOWN, INK = "#2b6cb0", "#c05621", "#cbd2da", "#1a202c"
MOST = 40
"""Phrases in a chart; of more the first half and the last half are shown."""
ROW, WIDTH = 0.22, 7.5
"""Height of a bar and width of the chart, in inches."""


def bars(path: Path, target: str, evidence: Evidence) -> Path:
    """Draw the effects of all phrases, most important first, as a PNG file, and return its path."""
    from matplotlib.figure import Figure

    order = evidence.ranked()
    left_out = len(order) - MOST
    if left_out > 0:
        order = order[: MOST // 2] + order[-MOST // 2 :]
    shown = [evidence.estimates[i] for i in order]
    figure = Figure(figsize=(WIDTH, 1.1 + ROW * len(shown)), layout="constrained")
    axes = figure.subplots()
    for y, e in enumerate(shown):
        axes.barh(y, e.effect, color={1: RAISES, -1: LOWERS, 0: UNSHOWN}[e.mark], height=0.7)
        if isfinite(e.lo) and isfinite(e.hi):
            axes.plot([e.lo, e.hi], [y, y], color=INK, linewidth=1)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), [short(e.phrase) for e in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(f"{evidence.unit} (line: 95 % interval)", fontsize=8)
    between = f"\n{left_out} phrases in the middle are left out" if left_out > 0 else ""
    figure.suptitle(
        f"{target}: {evidence.says}\nblue raises the class, orange lowers it, grey is not shown to do either{between}",
        fontsize=9,
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    return path


def high_and_low(path: Path, phrases: Sequence[str], high: Sequence[Tensor], low: Sequence[Tensor]) -> Path:
    """Draw pictures in which each phrase is most (left) and least (right) present, as a PNG file; return its path.

    Parameters
    ----------
    high, low
        For each phrase (m, 3, H, W) in [0, 1].
    """
    from matplotlib.figure import Figure

    columns = max(max(map(len, high)), max(map(len, low)))
    figure = Figure(figsize=(0.8 * (2 * columns + 3), 0.95 * len(phrases) + 0.4), layout="constrained")
    # a row is one image on each side: axes for every picture would take seconds
    grid = figure.subplots(len(phrases), 3, squeeze=False, width_ratios=(columns, 1.5, columns))
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (phrase, most, least) in enumerate(zip(phrases, high, low, strict=True)):
        grid[row, 1].text(0.5, 0.5, textwrap.fill(short(phrase), 12), ha="center", va="center", fontsize=8)
        grid[row, 0].imshow(_beside(most))
        grid[row, 2].imshow(_beside(least))
    figure.suptitle("most present | phrase | least present", fontsize=9)
    figure.savefig(path, dpi=90)
    return path


def _beside(pictures: Tensor) -> NDArray[np.float32]:
    """Pictures (m, 3, H, W) beside one another, with white between them, as (H, all widths, 3)."""
    white = torch.ones(3, pictures[0].shape[1], max(1, pictures[0].shape[2] // 16))
    row = torch.cat([part for picture in pictures for part in (picture, white)][:-1], 2)
    return np.ascontiguousarray(row.permute(1, 2, 0).numpy())


def short(text: str, most: int = 38) -> str:
    """A text cut to a length that fits into a chart."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
