"""From a cell to live objects: components are made once a process, tasks are built from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import LRUCache

from xcore.base.digests import digest
from xcore.base.errors import MissingError, UsageError, unknown
from xcore.contract.protocols import Classifier, Dataset, Generator, Progress, Run, Task
from xcore.contract.samples import Modality, Samples
from xcore.contract.types import Cell, Explanation, Ref, Split, Truth
from xcore.inputs.words import content_words
from xcore.registry import Registry
from xcore.run.random_sets import RandomSets, generate_pool
from xcore.store.codec import load_samples, save_samples
from xcore.store.identity import Identity

if TYPE_CHECKING:
    from xcore.store.run_directory import Store


T = TypeVar("T")

RECENT = 4
"""Drawn sets that are kept: what is explained, random sets for methods, for metrics, and held-out samples; cells go
class by class."""


def _key(kind: str, ref: Ref) -> str:
    return digest([kind, ref.text, dict(ref.options)])


class Workbench:
    """Makes components once and builds tasks and runs from them.

    Parameters
    ----------
    registry
        Where components come from.
    store
        Keeps artifacts that cells share.
    """

    def __init__(self, registry: Registry, store: Store) -> None:
        self.registry = registry
        self.store = store
        self.identity = Identity(registry)
        self._made: dict[str, Any] = {}
        self._drawn: LRUCache[str, Any] = LRUCache(RECENT)

    def component(self, kind: str, ref: Ref) -> Any:
        """The component of a reference, made when it is first asked for."""
        key = _key(kind, ref)
        if key not in self._made:
            self._made[key] = self.registry.create(kind, ref)
        return self._made[key]

    def classifier(self, cell: Cell) -> Classifier:
        made: Classifier = self.component("classifier", cell.classifier)
        return made

    def dataset(self, ref: Ref) -> Dataset:
        made: Dataset = self.component("dataset", ref)
        return made

    def notes(self, cell: Cell) -> list[str]:
        """What a reader must know of the data, and of what the classifier, if it was loaded, left out of it."""
        classifier = self._made.get(_key("classifier", cell.classifier))
        return [*self.dataset(cell.data).notes, *getattr(classifier, "notes", ())]

    def check(self, cell: Cell) -> None:
        """Raise `UsageError` if the class or the layer of a cell is not there."""
        data, classifier = self.dataset(cell.data), self.classifier(cell)
        for where, names in (("data set", data.classes), ("classifier", classifier.classes)):
            if cell.cls not in names:
                ref = cell.data if where == "data set" else cell.classifier
                more = getattr(classifier, "naming", "") if where == "classifier" else ""
                raise unknown(f"class of {where} {ref}:", cell.cls, names, more=more)
        if classifier.modality != data.modality:
            raise UsageError(
                f"classifier {cell.classifier} reads {classifier.modality}s, "
                f"but data set {cell.data} holds {data.modality}s"
            )
        if cell.layer and cell.layer not in classifier.layers:
            classifier.open(cell.layer)  # a layer need not be listed to be opened; raises for one that is not there

    def layer(self, cell: Cell) -> str:
        """The layer of a cell: its own or the classifier's default."""
        return cell.layer or self.classifier(cell).default_layer

    def random_sets(self, cell: Cell, split: Split) -> RandomSets:
        """Random sets for a class; made once, so that every method and seed shares their pools."""
        segmenter = cell.models.get("segmenter")
        drawn_from = [asdict(ref) if ref else None for ref in (cell.data, cell.contrast, cell.generator, segmenter)]
        key = digest(["contrast", split, drawn_from, cell.cls, cell.data_seed])

        def make() -> RandomSets:
            data, pool = self.dataset(cell.contrast or cell.data), self._kept_pool(cell)
            if data.modality != (modality := self.dataset(cell.data).modality):
                raise UsageError(
                    f"the random sets of {cell.contrast} hold {data.modality}s, but {cell.data} holds {modality}s"
                )
            return RandomSets(
                data,
                cell.cls,
                split,
                seed=cell.data_seed,
                pool=pool,
                segmenter=partial(self.component, "model", segmenter) if segmenter else None,
                renderings=self.registry.rendering,
            )

        return self._recent(key, make)

    def _recent(self, key: str, make: Callable[[], T]) -> T:
        """What was drawn for the last few classes is kept, so that memory stays flat however many there are."""
        if key not in self._drawn:
            self._drawn[key] = make()
        made: T = self._drawn[key]
        return made

    def _kept_pool(self, cell: Cell) -> Callable[[int, int], Samples] | None:
        """Generated pools are kept as artifacts: drawing them costs more than anything else that is shared.

        The generator is loaded only if a pool has to be drawn.
        """
        if cell.generator is None:
            return None
        ref, vocabulary = cell.generator, self.dataset(cell.data).vocabulary

        def pool(start_seed: int, n: int) -> Samples:
            key = {
                "generator": self.identity.component("generator", ref),
                "vocabulary": digest(vocabulary),
                "start_seed": start_seed,
                "n": n,
            }

            def make(directory: Path) -> None:
                save_samples(generate_pool(self.component("generator", ref), vocabulary, start_seed, n), directory)

            return load_samples(self.store.artifact("contrast-samples", key, make), f"pool/{start_seed}")

        return pool

    def task(self, cell: Cell, workdir: Path, progress: Progress) -> Task:
        """What a method is asked to do in this cell."""
        classifier, data = self.classifier(cell), self.dataset(cell.data)
        drawn_with = cell.generator if self.registry.draws(cell.method) else None
        generator: Generator | None = self.component("generator", drawn_with) if drawn_with else None
        samples = self.explained(cell)

        def model(role: str) -> Any:
            if role not in cell.models:
                raise MissingError(f"no model for the role {role!r}", f"name one with --model {role}=REF")
            return self.component("model", cell.models[role])

        return Task(
            classifier=classifier,
            layer=self.layer(cell),
            target=classifier.classes.index(cell.cls),
            samples=samples,
            random_set=self.random_sets(cell, "train"),
            data=TrainingData(data),
            seed=cell.seed,
            concepts=DataConcepts(data, cell.budget.samples, cell.data_seed),
            # a word that no explained text says cannot be what makes them of their class
            vocabulary=content_words(samples.texts) if samples.modality == "text" else data.vocabulary,
            generator=generator,
            model=model,
            roles=tuple(cell.models),
            artifact=self.store.artifact,
            workdir=workdir,
            budget=cell.budget,
            progress=progress,
        )

    def run(self, cell: Cell, explanation: Explanation) -> Run:
        """A finished explanation with what a metric needs to judge it, but for the truth."""
        return Run(
            cell=cell,
            explanation=explanation,
            task=self.task(cell, Path(), lambda step, total, note="": None),
            heldout=self.heldout(cell),
            heldout_random_set=self.random_sets(cell, "heldout"),
        )

    def truth(self, cell: Cell) -> Truth | None:
        """What the classifier of a cell is known to use. Only metrics that need it ask: it may take minutes."""
        return self.dataset(cell.data).truth(str(cell.classifier))

    def explained(self, cell: Cell) -> Samples:
        """The samples of the class that a method sees: a copy, so that none can change what the next one is given."""
        drawn = self._of_class(cell, "explain", cell.budget.samples, "samples to explain")
        return drawn if drawn.modality == "text" else replace(drawn, data=drawn.images.clone())

    def heldout(self, cell: Cell) -> Samples:
        """The samples of the class that metrics see."""
        return self._of_class(cell, "heldout", cell.budget.heldout, "held-out samples")

    def _of_class(self, cell: Cell, split: Split, n: int, what: str) -> Samples:
        def make() -> Samples:
            drawn = self.dataset(cell.data).samples(cell.cls, split, n, cell.data_seed)
            if not len(drawn):
                raise MissingError(f"data set {cell.data} has no {what} of class {cell.cls!r}")
            return drawn

        return self._recent(digest([split, asdict(cell.data), cell.cls, n, cell.data_seed]), make)


def explained(task: Task) -> Samples | None:
    """The explained texts with the probability that the classifier gives the class; None for images."""
    if task.samples.modality != "text":
        return None
    found = task.classifier.logits(task.samples).double().softmax(1)[:, task.target].tolist()
    probability = tuple(p if math.isfinite(p) else None for p in found)
    return Samples("text", task.samples.texts, task.samples.ids, meta={"probability": probability})


class TrainingData:
    """A data set as methods see it: held-out samples and the truth are refused."""

    def __init__(self, inner: Dataset) -> None:
        self._inner = inner
        self.modality: Modality = inner.modality
        self.classes = inner.classes
        self.concepts = inner.concepts
        self.vocabulary = inner.vocabulary
        self.defaults = inner.defaults

    @property
    def skipped(self) -> tuple[str, ...]:
        return self._inner.skipped

    @property
    def notes(self) -> tuple[str, ...]:
        return self._inner.notes

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        if split == "heldout":
            raise UsageError("methods do not see held-out samples", 'ask for the split "train" or "explain"')
        return self._inner.samples(cls, split, n, seed)

    def concept(self, name: str, n: int, seed: int) -> Samples:
        return self._inner.concept(name, n, seed)

    def truth(self, classifier: str) -> Truth | None:
        raise UsageError("methods do not see the truth")


class DataConcepts(Mapping[str, Samples]):
    """The named concepts of a data set, drawn when they are asked for."""

    def __init__(self, data: Dataset, n: int, seed: int) -> None:
        self._data, self._n, self._seed = data, n, seed

    def __getitem__(self, name: str) -> Samples:
        if name not in self._data.concepts:
            raise KeyError(name)
        return self._data.concept(name, self._n, self._seed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._data.concepts)

    def __len__(self) -> int:
        return len(self._data.concepts)
