"""The chart of a trajectory: the probability of the class over the steps, and the nearest phrases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xcore_acting.strips import BLUE, INK

if TYPE_CHECKING:
    from xcore_acting.trajectory_found import Point

GREY = "#cbd2da"
PHRASES = 6
"""Phrases in a chart: those that are nearest at any step."""
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b7791f", "#718096")


def draw(path: Path, points: Sequence[Point], prompt: str, cls: str) -> None:
    """Draw the probability, for each noise and in the mean, and the nearness of phrases, as a PNG file."""
    from matplotlib.figure import Figure

    steps = [p.step for p in points]
    phrases = _phrases(points)
    figure = Figure(figsize=(7.2 if phrases else 3.6, 2.6), layout="constrained")
    panels = figure.subplots(1, 2 if phrases else 1, squeeze=False)[0]
    each = np.stack([p.probability for p in points])
    panels[0].plot(steps, each, color=GREY, linewidth=0.8)
    panels[0].plot(steps, each.mean(1), color=BLUE, linewidth=2, marker="o", markersize=3)
    panels[0].set_ylim(-0.03, 1.03)
    panels[0].set_title(f"probability of {cls}; grey: each noise", fontsize=8)
    for phrase, colour in zip(phrases, COLOURS, strict=False):
        near = [p.nearness[phrase] for p in points]
        panels[1].plot(steps, near, color=colour, label=phrase, marker="o", markersize=3)
    if phrases:
        panels[1].axhline(0, color=INK, linewidth=0.6)
        panels[1].set_title("nearness to phrases (standard deviations)", fontsize=8)
        panels[1].legend(fontsize=6, frameon=False)
    for axes in panels:
        axes.set_xlabel("steps of the search", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_xticks(steps)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(prompt, fontsize=9)
    figure.savefig(path, dpi=90)


def _phrases(points: Sequence[Point]) -> list[str]:
    """The phrases that drawings are nearest to at any step."""
    known = points[0].nearness
    return sorted(known, key=lambda phrase: -max(p.nearness[phrase] for p in points))[:PHRASES]
