"""An explanation in the hands of a user: shown, plotted, kept, loaded again, and found again in new samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.process import prepare
from xcore.contract.samples import Samples
from xcore.contract.types import Explanation, Presence

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import torch
    from matplotlib.figure import Figure

    from xcore.contract.protocols import Classifier
    from xcore.contract.types import Ref
    from xcore.inputs.arrays import Data
    from xcore.registry import Registry


@dataclass(frozen=True, eq=False, repr=False)
class Explained(Explanation):
    """An explanation with what it explains and how it was made, as `xcore.explain` and `xcore.load` give it.

    In a notebook it shows a gallery of its concepts.

    Attributes
    ----------
    samples
        The explained samples, in the order of `Concept.maps` and `Concept.local`. None if they were not kept.
    recipe
        How it was made, as JSON holds it: method, options, seed, layer, classes, target, models, generator, plugins.
    """

    samples: Samples | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def show(self) -> None:
        """Show the gallery in a notebook; elsewhere print the concepts."""
        from xcore.report.notebook import show_explanation

        show_explanation(self, self.samples)

    def plot(self, what: str = "", *, concepts: int = 3, samples: int = 6, axes: Any = None) -> Figure:
        """Draw the explanation with matplotlib.

        Parameters
        ----------
        what
            "concepts": samples of each concept; "maps": where the concepts are in the explained images; "importances":
            a bar for each concept, with its interval where the evidence has one. "" = "concepts" if they have pictures,
            else "importances".
        concepts
            How many concepts are drawn, the most important first.
        samples
            How many samples of a concept, or explained images, are drawn.
        axes
            The axes to draw into: one for "importances", else an array with a row for each concept (and one more for
            the images, above maps) and as many columns as samples are to be drawn. None = a new figure.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it. A script that has imported pyplot sees it with ``plt.show()``; every script can
            ``savefig`` it.

        Raises
        ------
        UsageError
            There is no such plot.
        NotApplicable
            There is nothing to draw, such as maps of a method that gives none.
        """
        from xcore.report.plots import plot_explanation

        return plot_explanation(self, self.samples, what, concepts, samples, axes)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each concept: rank, name, words, importance, and a column for each statistic of `evidence`."""
        from xcore.report.notebook import concepts_frame

        return concepts_frame(self)

    def _repr_html_(self) -> str:
        from xcore.report.notebook import explanation_html

        return explanation_html(self, self.samples)

    def save(self, path: str | Path) -> Path:
        """Keep the explanation, its samples and its pictures in a folder, which `xcore.load` reads.

        Parameters
        ----------
        path
            A new or empty folder, or one that holds an explanation that was kept so, which is replaced.

        Returns
        -------
        pathlib.Path
            The folder. It is there whole or not at all.

        Raises
        ------
        UsageError
            The folder holds something else, or cannot be written.
        """
        from xcore.report.pictures import draw
        from xcore.store.kept import save

        samples = self.samples
        pictures = None if samples is None else partial(draw, self, samples)
        return save(Path(path).expanduser(), self.plain, samples, self.recipe, pictures)

    def apply(
        self,
        model: torch.nn.Module | Classifier | str | Ref,
        samples: Data,
        *,
        contrast: Data | None = None,
        generator: Any = None,
        models: Mapping[str, Any] | None = None,
        registry: Registry | None = None,
    ) -> Applied:
        """Find the concepts in other samples: where they are, and how strongly.

        Parameters
        ----------
        model
            The network that was explained, or another version of it: a module, a reference or a classifier.
        samples
            Images or texts in any of the forms that `xcore.explain` takes, of any class.
        contrast, generator, models
            As for `xcore.explain`, where the method needs them here, too; None = what the explanation was made with.

        Returns
        -------
        Applied

        Raises
        ------
        UsageError, MissingError
            For what is wrong with the request, or missing from it.
        NotApplicable
            If the concepts cannot be found again, as those of a black box that has no layers.
        """
        from xcore.run.apply import apply

        found, new = apply(self.plain, self.recipe, model, samples, contrast, generator, models or {}, registry)
        return Applied(**_values(found, Presence), names=tuple(concept.name for concept in self.concepts), samples=new)

    @property
    def plain(self) -> Explanation:
        """The explanation as the method made it."""
        return Explanation(**_values(self, Explanation))

    @classmethod
    def of(cls, made: Explanation, samples: Samples | None, recipe: Mapping[str, Any]) -> Explained:
        """A plain explanation with what it explains and how it was made."""
        return cls(**_values(made, Explanation), samples=samples, recipe=recipe)


@dataclass(frozen=True, eq=False, repr=False)
class Applied(Presence):
    """Where, and how strongly, the concepts of an explanation are in new samples, as `Explained.apply` gives it.

    Attributes
    ----------
    names
        The k concepts, the most important first.
    samples
        The N new samples.
    """

    names: tuple[str, ...] = ()
    samples: Samples | None = None

    def __repr__(self) -> str:
        n, k = self.strength.shape
        some = f"{n} sample{'' if n == 1 else 's'}"
        return f"<{k} concept{'' if k == 1 else 's'} in {some} (strength: {self.strength_is})>"

    def plot(self, *, concepts: int = 3, samples: int = 6) -> Figure:
        """Draw the samples with the map of each concept over them; without maps, a bar for each concept."""
        from xcore.report.plots import plot_presence

        return plot_presence(self, self.samples, self.names, concepts, samples)

    def to_pandas(self) -> pd.DataFrame:
        """The strengths (N, k): a row for each sample, named by its id, and a column for each concept."""
        from xcore.report.notebook import presence_frame

        return presence_frame(self, self.samples, column_names(self.names))

    def show(self) -> None:
        """Show the samples with their concepts in a notebook; elsewhere print the strengths."""
        from xcore.report.notebook import show_presence

        show_presence(self, self.samples, self.names)

    def _repr_html_(self) -> str:
        from xcore.report.notebook import presence_html

        return presence_html(self, self.samples, self.names)


def load(path: str | Path) -> Explained:
    """Read an explanation that `Explained.save`, `xcore explain` or `xcore bench` kept.

    Parameters
    ----------
    path
        The folder of the explanation; or of a run, if it has only one. The record of a run holds no explained samples.

    Raises
    ------
    UsageError
        There is no explanation, there are several, or it is damaged.
    """
    prepare(warn=False)  # the first call of a session may load torch
    from xcore.store.kept import load as read

    return Explained.of(*read(Path(path).expanduser()))


def _values(made: Any, kind: type[Explanation] | type[Presence]) -> dict[str, Any]:
    """The fields that a class of the contract has, without those of a class derived from it."""
    return {f.name: getattr(made, f.name) for f in fields(kind)}


def column_names(names: Sequence[str]) -> list[str]:
    """Names of concepts as columns: one that appears several times gets its rank, so that no column is lost."""
    made: list[str] = []
    for i, name in enumerate(names):
        shown = name if names.count(name) == 1 else f"{name} ({i + 1})"
        while shown in made or (shown != name and shown in names):
            shown += "'"
        made.append(shown)
    return made
