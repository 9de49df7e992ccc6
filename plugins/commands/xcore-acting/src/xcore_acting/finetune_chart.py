"""The picture of a fine-tuning: the losses by epoch, and some of the new samples beside what they were made of."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import Samples
from xcore_acting.shift_chart import GAINED, INK, LOST, beside

if TYPE_CHECKING:
    from xcore_acting.finetune_samples import Sets
    from xcore_acting.finetune_training import Trained


def draw(path: Path, trained: Trained, given: Sets) -> Path:
    """Draw it as a PNG file, and return its path."""
    from matplotlib.figure import Figure

    examples = given.examples
    figure = Figure(figsize=(11 if examples else 5, 1.2 + max(2.2, 1.6 * len(examples))), layout="constrained")
    halves: list[Any] = [figure]
    if examples:
        halves = list(figure.subfigures(1, 2, width_ratios=(5, 6), squeeze=False).flat)
    axes, history = halves[0].subplots(), trained.history
    axes.plot([h.get("loss", float("nan")) for h in history], color=LOST, label="training samples")
    axes.plot([h["validation_loss"] for h in history], color=GAINED, label="validation samples")
    axes.axvline(trained.best, color=INK, linewidth=0.8, linestyle=":", label="epoch that is kept")
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("mean cross entropy, in nats", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if examples:
        panels = halves[1].subplots(len(examples), squeeze=False).flat
        for panel, (title, new, old) in zip(panels, examples, strict=True):
            panel.set_axis_off()
            panel.set_title(title, fontsize=8)
            _show(panel, new, old)
    figure.savefig(path, dpi=90)
    return path


def _show(axes: Any, new: Samples, old: Samples | None) -> None:
    """What the samples were made of above them; of texts, a few words."""
    import numpy as np

    if new.modality == "text":
        lines = [textwrap.shorten(text, 60, placeholder=" ...") for text in new.texts[:3]]
        axes.text(0, 0.5, "\n".join(lines), fontsize=8, va="center")
        return
    rows = [beside(part.images) for part in (old, new) if part is not None]
    axes.imshow(np.concatenate(rows))
