"""The picture of a sum: how often it is right with each further direction, and the weights for the class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xcore.contract import Concept
from xcore_evidence.chart import INK, LOWERS, MOST, RAISES, ROW, UNSHOWN, short
from xcore_evidence.elude.additive import Additive


def picture(path: Path, target: str, concepts: Sequence[Concept], found: Additive) -> Path:
    """Draw the shares of predictions that are right, beside the weights of the class, and return the path of the PNG.

    Parameters
    ----------
    concepts
        Most important first; of more than fit the first and the last half are shown.
    """
    from matplotlib.figure import Figure

    left_out = max(0, len(concepts) - MOST)
    shown = list(concepts) if not left_out else [*concepts[: MOST // 2], *concepts[-MOST // 2 :]]
    figure = Figure(figsize=(9.5, max(3.0, 1.2 + ROW * len(shown))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    left.plot(range(len(found.shares)), found.shares, color=RAISES, marker="o", markersize=4)
    left.axhline(found.commonest, color=UNSHOWN, linestyle="--", linewidth=1)
    left.axvline(found.rank, color=INK, linewidth=0.8, linestyle=":")
    left.set_ylim(0, 1.02)
    left.set_xticks(range(len(found.shares)))
    left.set_xlabel("unnamed directions beside the attributes (dotted: kept)", fontsize=8)
    left.set_ylabel("share of predictions that are told\n(dashed: by the commonest one)", fontsize=8)
    for y, concept in enumerate(shown):
        colour = INK if concept.directions else RAISES if concept.importance > 0 else LOWERS
        right.barh(y, concept.importance, color=colour, height=0.7)
    right.set_yticks(range(len(shown)), [short(c.name) for c in shown], fontsize=8)
    right.set_ylim(len(shown) - 0.5, -0.5)
    right.axvline(0, color=INK, linewidth=0.8)
    right.set_xlabel("logits for one standard deviation", fontsize=8)
    between = f"\n{left_out} in the middle are left out" if left_out else ""
    figure.suptitle(
        f"{target}: what attributes and unnamed directions tell of the predictions\n"
        f"right, for the class: blue attributes raise it, orange ones lower it, black bars are unnamed{between}",
        fontsize=9,
    )
    for axes in (left, right):
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    return path
