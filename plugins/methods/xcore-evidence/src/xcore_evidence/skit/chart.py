"""The chart of wealth: how the bets on the phrases grow from sample to sample."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from pathlib import Path

from torch import Tensor

from xcore_evidence.chart import INK, LOWERS, RAISES, UNSHOWN, short

NAMED = 10
"""Phrases whose lines have a name: those with most wealth."""


def wealths(
    path: Path,
    target: str,
    phrases: Sequence[str],
    order: Sequence[int],
    wealth: Tensor,
    marks: Sequence[int],
    alpha: float,
) -> Path:
    """Draw the median wealth of all phrases against the number of samples as a PNG file, and return its path.

    Parameters
    ----------
    order
        Indices of the phrases, the most important first.
    wealth
        (k, R, n) logs.
    marks
        See `xcore_evidence.skit.explainer.Tested`.
    """
    from matplotlib.figure import Figure

    lines = wealth.median(1).values / log(10)
    n = lines.shape[1]
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = [{1: RAISES, -1: LOWERS, 0: UNSHOWN}[mark] for mark in marks]
    for i in reversed(order):
        axes.plot(range(1, n + 1), lines[i].tolist(), color=colours[i], linewidth=1.3 if marks[i] else 0.8)
    axes.axhline(-log(alpha) / log(10), color=INK, linewidth=0.8, linestyle="--")
    named = sorted(order, key=lambda i: -float(lines[i, -1]))[:NAMED]
    heights = _apart([float(lines[i, -1]) for i in named], 0.045 * float(lines.max() - lines.min()))
    for i, height in zip(named, heights, strict=True):
        ends = [float(lines[i, -1]), height]  # a name that was moved stands beside another line than its own
        axes.plot([n, n * 1.04], ends, color=colours[i], linewidth=0.8, clip_on=False)
        ink = colours[i] if marks[i] else INK
        axes.text(n * 1.05, height, short(phrases[i]), fontsize=8, va="center", color=ink)
    axes.set_xlim(1, n)
    axes.set_xlabel(f"samples (dashed: the wealth at which a test rejects, {1 / alpha:g})", fontsize=8)
    axes.set_ylabel("wealth, powers of ten; median over orders", fontsize=8)
    axes.tick_params(labelsize=8)
    rest = f"; named: the {NAMED} phrases with most wealth" if len(order) > NAMED else ""
    figure.suptitle(
        f"{target}: bets that the output depends on a phrase{rest}\n"
        "blue: it rises with the phrase, orange: it falls, grey: dependence is not shown",
        fontsize=9,
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    return path


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights in falling order, each moved down where it is too near the one before."""
    moved: list[float] = []
    for height in heights:
        moved.append(min(height, moved[-1] - least) if moved else height)
    return moved
