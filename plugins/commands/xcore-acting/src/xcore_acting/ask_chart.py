"""The picture of `xcore ask`: for each concept or pair a point with its interval by each kind of evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

COLOURS = {"observed": "#2b6cb0", "factorial": "#2f855a", "edited": "#c05621"}
INK = "#1a202c"
MOST = 24
"""Rows in a chart; of more the first and the last are shown."""


def draw(path: Path, title: str, rows: Sequence[Mapping[str, Any]], kinds: Sequence[str], within: float) -> None:
    """Draw the shares of rows (see `ask_rows.rows`) as a PNG file; a filled point is marked.

    Parameters
    ----------
    within
        Bound within which pairs count as equal: a grey band behind them.
    """
    from matplotlib.figure import Figure

    left_out = len(rows) - MOST
    shown = rows if left_out <= 0 else [*rows[: MOST // 2], *rows[-MOST // 2 :]]
    step = 0.8 / max(len(kinds), 1)
    figure = Figure(figsize=(7.5, 1.3 + (0.16 + 0.14 * len(kinds)) * len(shown)), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(shown):
        if row["what"] == "pair":
            axes.fill_betweenx([y - 0.45, y + 0.45], -100 * within, 100 * within, color="#e8ecf1", linewidth=0)
        for k, kind in enumerate(kinds):
            share, lo, hi = (100 * row.get(name, nan) for name in (kind, f"{kind}_lo", f"{kind}_hi"))
            at = y - 0.4 + step * (k + 0.5)
            if isfinite(lo) and isfinite(hi):
                axes.plot([lo, hi], [at, at], color=COLOURS[kind], linewidth=1.4)
            if isfinite(share):
                fill = COLOURS[kind] if row[f"{kind}_mark"] else "white"
                axes.plot([share], [at], "o", color=COLOURS[kind], markerfacecolor=fill, markersize=5)
    for kind in kinds:
        axes.plot([], [], "o-", color=COLOURS[kind], label=kind, markersize=5)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), [textwrap.shorten(r["concept"], 40, placeholder="...") for r in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("effect on the margin of the class, in % of its gap (line: 95 % interval)", fontsize=8)
    axes.legend(fontsize=8, frameon=False, loc="best")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    between = f"; {left_out} rows in the middle are left out" if left_out > 0 else ""
    said = f"{title}\na filled point is shown to raise or lower the class, or a pair to differ{between}"
    figure.suptitle("\n".join(line for part in said.splitlines() for line in textwrap.wrap(part, 90)), fontsize=9)
    figure.savefig(path, dpi=90)
