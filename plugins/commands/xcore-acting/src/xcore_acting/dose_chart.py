"""The picture of a dose-response: the probability of the class and the response over the dose, and samples below."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from xcore_acting.dose import Dosed
from xcore_acting.dose_curve import Curve

BLUE, GREY, INK = "#2b6cb0", "#a0aec0", "#1a202c"


def draw(path: Path, title: str, given: Dosed, response: Curve, likely: Curve, within: float) -> None:
    """Draw both curves with their bands, and one sample at each dose, as a PNG file."""
    from matplotlib.figure import Figure

    pictured = next((s for s in given.shown if s is not None), None)
    images = pictured is not None and pictured.modality == "image"
    figure = Figure(figsize=(8.2, 5.2 if images else 4.8), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(3, 2 if images else 1.8))
    above, below = parts
    left, right = above.subplots(1, 2)
    doses = np.array(given.doses)
    known = ~np.isnan(likely.mean)
    left.fill_between(
        doses[known], likely.lo[known].clip(0, 1), likely.hi[known].clip(0, 1), color=BLUE, alpha=0.2, lw=0
    )
    left.plot(doses[known], likely.mean[known], "o-", color=BLUE, markersize=4)
    before = np.array([np.nanmean(c) if not np.isnan(c).all() else np.nan for c in given.unchanged.T])
    left.plot(doses[known], before[known], "--", color=GREY, linewidth=1)
    left.set_ylim(-0.03, 1.03)
    left.set_ylabel("probability of the class", fontsize=8)
    known = ~np.isnan(response.mean)
    right.axhspan(-100 * within, 100 * within, color="#e8ecf1", linewidth=0)
    lo, mean, hi = (100 * c[known] for c in (response.lo, response.mean, response.hi))
    right.fill_between(doses[known], lo, hi, color=BLUE, alpha=0.2, linewidth=0)
    right.plot(doses[known], mean, "o-", color=BLUE, markersize=4)
    right.axhline(0, color=INK, linewidth=0.8)
    right.set_ylabel("response, in % of the gap", fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("strength of the concept", fontsize=8)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    said = f"{title}\nbands hold a whole curve with 95 %; dashed: {given.against}; grey: ±{within:.0%} of the gap"
    figure.suptitle(said, fontsize=9)
    if images:
        m = max(len(s) for s in given.shown if s is not None)
        grid = below.subplots(m, len(doses), squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for column, dose, sample in zip(grid.T, doses, given.shown, strict=True):
            column[0].set_title(f"{dose:g}", fontsize=8)
            for axes, image in zip(column, sample.images if sample is not None else (), strict=False):
                axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    else:
        told = [(d, s.texts[0]) for d, s in zip(doses, given.shown, strict=True) if s is not None]
        lines = [f"{d:+g}: {textwrap.shorten(text, 110, placeholder=' ...')}" for d, text in told]
        below.text(0.02, 0.95, "\n".join(lines), fontsize=8, va="top")
    figure.savefig(path, dpi=90)
