"""Plots of an explanation with matplotlib: samples of the concepts, maps over the explained images, importances.

Colours of texts, lines and bars are those of the style that is switched on, so that plots can be read in dark styles.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from xcore.base.errors import NotApplicable, UsageError, unknown
from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Explanation, Presence
from xcore.report.concepts import interval, numbers
from xcore.report.highlighted import visible
from xcore.report.pictures import mapped_images, overlay

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

PLOTS = ("concepts", "maps", "importances")
"""What `plot_explanation` can draw."""
TILE = 1.15
"""Side of one picture in inches."""
LABEL = 22
"""Characters of a name beside pictures, at most."""
RESOLUTION = 110
"""Pixels for each inch, in a notebook."""


def plot_explanation(
    explanation: Explanation, samples: Samples | None, what: str, concepts: int, samples_shown: int, axes: Any
) -> Figure:
    """Draw an explanation; see `xcore.explained.Explained.plot`.

    Raises
    ------
    UsageError
        `what` is not one of `PLOTS`, or `concepts` or `samples_shown` is no positive number.
    NotApplicable
        There is nothing to draw: no concepts, no pictures of them, or no maps.
    """
    pictured = [(i, c) for i, c in enumerate(explanation.concepts) if _has_pictures(c)]
    what = what or ("concepts" if pictured else "importances")
    if what not in PLOTS:
        raise unknown("plot", what, PLOTS)
    if concepts < 1 or samples_shown < 1:
        raise UsageError(
            f"{concepts} concepts and {samples_shown} samples cannot be drawn", "ask for 1 or more of each"
        )
    if not explanation.concepts:
        raise NotApplicable(f"{explanation.method} found no concept of {explanation.target!r}", "see its notes")
    if what == "importances":
        return _importances(explanation, concepts, axes)
    if what == "concepts":
        if not pictured:
            raise NotApplicable("the concepts have no pictures", "plot('importances') draws a bar for each of them")
        return _concepts(explanation, pictured[:concepts], samples_shown, axes)
    mapped = [(i, c) for i, c in enumerate(explanation.concepts) if c.maps is not None and c.maps.any()]
    if not mapped:
        other = "concepts" if pictured else "importances"
        raise NotApplicable(f"there are no maps of these concepts by {explanation.method}", f"plot({other!r}) works")
    return _maps(explanation, mapped[:concepts], samples, samples_shown, axes)


def plot_presence(
    presence: Presence, samples: Samples | None, names: Sequence[str], concepts: int, samples_shown: int
) -> Figure:
    """Draw where the concepts are in new samples; without maps, how strong each is; see `Applied.plot`."""
    n, k = presence.strength.shape
    if concepts < 1 or samples_shown < 1:
        raise UsageError(
            f"{concepts} concepts and {samples_shown} samples cannot be drawn", "ask for 1 or more of each"
        )
    if not n or not k:
        raise NotApplicable(f"there are {k} concepts in {n} samples", "nothing can be drawn")
    concepts, shown = min(concepts, k), min(samples_shown, n)
    labels = [_label(i, name) for i, name in enumerate(names[:concepts])]
    strengths = presence.strength[:shown, :concepts].detach().cpu().float()
    if presence.maps is None or samples is None or samples.modality != "image":
        return _strengths(presence, strengths.numpy(), samples, labels)
    maps = presence.maps[:, :concepts].detach().cpu().float()
    grid = _Grid(None, concepts + 1, shown)
    for column in range(shown):
        grid.image(0, column, samples.images[column])
        for row in range(concepts):
            top = float(maps[:, row].max())
            grid.image(row + 1, column, overlay(samples.images[column], maps[column, row], top))
            grid.axes[row + 1, column].set_title(f"{float(strengths[column, row]):.2g}", fontsize=7, pad=2)
    for row, text in enumerate(["", *labels]):
        grid.label(row, text)
    grid.heading(f"strength: {visible(presence.strength_is)}")
    return grid.figure


def _importances(explanation: Explanation, concepts: int, axes: Any) -> Figure:
    shown = explanation.concepts[:concepts]
    values = [c.importance for c in shown]
    figure, ax = _one(axes, (5.2, 0.9 + 0.32 * len(shown)))
    at = range(len(shown))
    ax.barh(list(at), values, height=0.66, color=["C1" if value < 0 else "C0" for value in values])
    for i, concept in enumerate(shown):
        if (bounds := interval(concept)) is not None:
            low, high = bounds
            error = [[concept.importance - low], [high - concept.importance]]
            ax.errorbar(concept.importance, i, xerr=error, fmt="none", ecolor=_ink(), elinewidth=1.2, capsize=3)
    ax.set_yticks(list(at), [_label(i, c.name) for i, c in enumerate(shown)])
    ax.invert_yaxis()
    ax.axvline(0, color=_ink(), linewidth=0.8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(_wrapped(f"importance: {visible(explanation.importance_is)}", 44))
    ax.set_title(_wrapped(_heading(explanation)), loc="left", fontsize=10)
    return figure


def _concepts(explanation: Explanation, shown: list[tuple[int, Concept]], most: int, axes: Any) -> Figure:
    pictures = [c.samples.images[:most] for _, c in shown if c.samples is not None]
    grid = _Grid(axes, len(shown), max(map(len, pictures)))
    said = numbers([c.importance for _, c in shown])
    for row, ((i, concept), own) in enumerate(zip(shown, pictures, strict=True)):
        for column, image in enumerate(own):
            grid.image(row, column, image)
        grid.label(row, f"{_label(i, concept.name)}\n{said[row]}")
    grid.heading(f"{_heading(explanation)}; importance: {visible(explanation.importance_is)}")
    return grid.figure


def _maps(
    explanation: Explanation, shown: list[tuple[int, Concept]], samples: Samples | None, most: int, axes: Any
) -> Figure:
    import torch

    heat: list[Tensor] = [c.maps.detach().cpu().float() for _, c in shown if c.maps is not None]
    n, height, width = heat[0].shape
    known = samples is not None and samples.modality == "image" and len(samples) == n
    images = samples.images if known and samples is not None else torch.ones(n, 3, height, width)
    columns = mapped_images([c for _, c in shown], n, most)
    grid = _Grid(axes, len(shown) + known, len(columns))
    for column, at in enumerate(columns):
        if known:
            grid.image(0, column, images[at])
        for row, own in enumerate(heat):
            grid.image(row + known, column, overlay(images[at], own[at], float(own.max())))
    for row, (i, concept) in enumerate(shown):
        grid.label(row + known, _label(i, concept.name))
    missing = "" if known else "; the images were not kept"
    grid.heading(f"{_heading(explanation)}: where its concepts are{missing}")
    return grid.figure


def _strengths(
    presence: Presence, strengths: np.ndarray[Any, Any], samples: Samples | None, names: list[str]
) -> Figure:
    """A bar for each sample. Concepts stand side by side with a scale each, since they have none in common."""
    n, k = strengths.shape
    figure = _new((2.0 + 1.7 * k, 1.1 + 0.3 * n))
    axes = figure.subplots(1, k, sharey=True, squeeze=False)[0]
    ids = [str(row) for row in range(n)] if samples is None else [_shown_sample(samples, row) for row in range(n)]
    for column, ax in enumerate(axes):
        values = strengths[:, column]
        ax.barh(range(n), values, height=0.66, color=["C1" if value < 0 else "C0" for value in values])
        ax.set_title(names[column], fontsize=9, loc="left")
        ax.axvline(0, color=_ink(), linewidth=0.8)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(n), ids, fontsize=8)
    axes[0].invert_yaxis()
    figure.supxlabel(_wrapped(f"strength: {visible(presence.strength_is)}"), fontsize=10)
    return figure


class _Grid:
    """Pictures in rows and columns, without ticks and frames.

    `axes`: an array of axes, which says how many rows and columns there are; None = a new figure.
    """

    def __init__(self, axes: Any, rows: int, columns: int) -> None:
        import numpy as np

        self.own = axes is None
        if axes is None:
            figure = _new((1.7 + TILE * columns, 0.5 + (TILE + 0.06) * rows))
            axes = figure.subplots(rows, columns)
        given = np.array(axes, dtype=object)
        if given.ndim != 2 and given.size % rows == 0:
            given = given.reshape(rows, -1)
        if given.ndim != 2 or given.shape[0] < rows or not given.size:
            raise UsageError(f"axes in {rows} rows are needed", f"pass those of plt.subplots({rows}, {columns})")
        self.axes = given
        self.figure: Figure = given[0, 0].figure
        for ax in self.axes.flat:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_facecolor("none")
            for spine in ax.spines.values():
                spine.set_visible(False)

    def image(self, row: int, column: int, image: Tensor) -> None:
        """Draw one image (3, H, W) in [0, 1]; what has no column is left out."""
        if column < self.axes.shape[1]:
            pixels = image.detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy()
            self.axes[row, column].imshow(pixels, interpolation="antialiased")

    def label(self, row: int, text: str) -> None:
        """Write to the left of a row."""
        self.axes[row, 0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, labelpad=6)

    def heading(self, text: str) -> None:
        """Write above all rows, in a figure of ours."""
        if self.own:
            across = max(40, round(13 * self.figure.get_figwidth()))
            self.figure.suptitle(_wrapped(text, across), fontsize=10, x=0.01, ha="left")


def _one(axes: Any, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """The axes that the user gave, or new ones in a figure of this size in inches."""
    if axes is None:
        figure = _new(size)
        return figure, figure.subplots()
    if not hasattr(axes, "barh"):
        raise UsageError("axes is no single pair of axes", "pass one that plt.subplots() gives")
    return axes.figure, axes


def _new(size: tuple[float, float]) -> Figure:
    """A new figure.

    A script that has imported pyplot expects `plt.show()` to show the figure, so pyplot makes it there. A notebook
    would show such a figure twice: as the result of the cell and once more at its end.
    """
    kind = _figure_class()
    if "matplotlib.pyplot" in sys.modules and "ipykernel" not in sys.modules:
        pyplot: Any = sys.modules["matplotlib.pyplot"]
        made: Figure = pyplot.figure(FigureClass=kind, figsize=size, layout="constrained")
        return made
    return kind(figsize=size, layout="constrained")


@cache
def _figure_class() -> Callable[..., Figure]:
    """A figure that a notebook shows although pyplot does not know it."""
    from matplotlib.figure import Figure

    class Plot(Figure):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=RESOLUTION, bbox_inches="tight")
            return file.getvalue()

    return Plot


def _has_pictures(concept: Concept) -> bool:
    return concept.samples is not None and concept.samples.modality == "image" and len(concept.samples) > 0


def _heading(explanation: Explanation) -> str:
    return f"{visible(explanation.target)} explained by {visible(explanation.method)}"


def _label(index: int, name: str) -> str:
    """Rank and name, wrapped and cut."""
    rank, shown = f"C{index + 1}", visible(name)
    text = shown if shown.startswith(rank) else f"{rank} {shown}"
    return _wrapped(text if len(text) <= 2 * LABEL else f"{text[: 2 * LABEL - 1]}…", LABEL)


def _shown_sample(samples: Samples, row: int) -> str:
    text = visible(samples.ids[row] if samples.modality == "image" else samples.texts[row])
    return _wrapped(text if len(text) <= 60 else f"{text[:59]}…", 30)


def _wrapped(text: str, width: int = 60) -> str:
    """The text in lines, as matplotlib takes it: between two dollar signs it would read a formula, and fail."""
    import textwrap

    return "\n".join(textwrap.wrap(text, width)).replace("$", r"\$")


def _ink() -> Any:
    from matplotlib import rcParams

    return rcParams["text.color"]
