"""From a cell to live objects: components are made once a process, tasks are built from them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from xcore.inputs.class_names import ClassNames
from xcore.inputs.words import content_words
from xcore.registry import Registry
from xcore.run.drawing import FramedGenerator, drawn_phrases, framing_like, generate_pool
from xcore.run.random_sets import RandomSets
from xcore.store.codec import load_samples, save_samples
from xcore.store.identity import Identity

if TYPE_CHECKING:
    from xcore.inputs.images import Framing
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

    def framed(self, ref: Ref, cell: Cell) -> Dataset:
        """A data set whose pictures, if it reads any from files, are framed as the classifier of a cell frames them."""
        data, framing = self.dataset(ref), getattr(self.classifier(cell), "framing", None)
        if framing is None or not hasattr(data, "framed"):
            return data
        key = digest([_key("dataset", ref), asdict(framing)])
        if key not in self._made:
            self._made[key] = data.framed(framing)
        made: Dataset = self._made[key]
        return made

    def _datasets(self, cell: Cell) -> list[Dataset]:
        """The data sets of a cell, as its classifier sees them if it was loaded."""
        loaded = _key("classifier", cell.classifier) in self._made
        refs = {_key("dataset", ref): ref for ref in (cell.data, cell.heldout, cell.contrast) if ref}
        return [self.framed(ref, cell) if loaded else self.dataset(ref) for ref in refs.values()]

    def notes(self, cell: Cell) -> list[str]:
        """What a reader must know of the data, and of what the models that were loaded left out of it."""
        classifier = self._made.get(_key("classifier", cell.classifier))
        named = [*self._name_notes(cell), *self._copy_notes(cell)] if classifier is not None else []
        of_data = [note for data in self._datasets(cell) for note in data.notes]
        models = [classifier, *(self._made.get(_key("model", ref)) for ref in cell.models.values())]
        of_models = [note for model in models for note in getattr(model, "notes", ())]
        return [*dict.fromkeys([*of_data, *of_models, *named])]

    def skipped(self, cell: Cell) -> list[str]:
        """The inputs that could not be read so far, one line each."""
        return [*dict.fromkeys(line for data in self._datasets(cell) for line in data.skipped)]

    def class_names(self, ref: Ref, cell: Cell) -> dict[str, str]:
        """Class of a data set -> the class of a cell's classifier that it is; itself if it is none of them."""
        key = digest(["class names", asdict(ref), asdict(cell.classifier)])
        if key not in self._made:
            data, known = self.dataset(ref), self._known_names(cell)
            found = {c: self._known_name(known, c, getattr(data, "aliases", {}).get(c, ())) for c in data.classes}
            self._made[key] = found
        names: dict[str, str] = self._made[key]
        return names

    @staticmethod
    def _known_name(known: ClassNames, cls: str, others: Sequence[str]) -> str:
        with contextlib.suppress(UsageError):  # one that may be several classes keeps its name; `target` tells of it
            return known.match(cls, others) or cls
        return cls

    def _known_names(self, cell: Cell) -> ClassNames:
        key = f"names of {_key('classifier', cell.classifier)}"
        if key not in self._made:
            classifier = self.classifier(cell)
            self._made[key] = ClassNames(classifier.classes, getattr(classifier, "aliases", None))
        known: ClassNames = self._made[key]
        return known

    def target(self, cell: Cell) -> int:
        """The index, among the classifier's classes, of the class of a cell.

        Raises
        ------
        UsageError
            The classifier has no such class, or several may be meant.
        """
        classifier, data = self.classifier(cell), self.dataset(cell.data)
        others = getattr(data, "aliases", {}).get(cell.cls, ())
        name = self._known_names(cell).match(cell.cls, others)
        if not name:
            raise unknown(
                f"class of classifier {cell.classifier}:",
                cell.cls,
                classifier.classes,
                more=getattr(classifier, "naming", "") or self._renaming(cell),
            )
        return classifier.classes.index(name)

    def _renaming(self, cell: Cell) -> str:
        """How a user can say what a class of the data is called in the classifier."""
        if hasattr(self.registry.options("dataset", cell.data), "names"):
            provider = cell.data.text.partition(":")[0]
            return f"say what the classes of the data are called in the classifier with --set {provider}.names=FILE"
        return "the data and the classifier must have a name, an index or a synset id of the class in common"

    def _name_notes(self, cell: Cell) -> list[str]:
        """Tell which class of the classifier is meant where its name does not say so by itself."""
        name = self.classifier(cell).classes[self.target(cell)]
        if name == cell.cls or name in getattr(self.dataset(cell.data), "aliases", {}).get(cell.cls, ()):
            return []
        return [f"class {cell.cls!r} of {cell.data} is the class {name!r} of {cell.classifier}"]

    def _copy_notes(self, cell: Cell) -> list[str]:
        """Tell how many held-out samples are left out because the methods see them, too."""
        if cell.heldout is None:
            return []
        drawn = self._of_class(cell, "heldout", cell.budget.heldout, "held-out samples", cell.heldout)
        copies = len(drawn) - len(self._unseen(cell, drawn))
        return [f"{copies} held-out sample(s) of {cell.heldout} are explained, too, and are left out"] if copies else []

    def check(self, cell: Cell) -> None:
        """Raise `UsageError` if the class or the layer of a cell is not there, or not one class only."""
        data, classifier = self.dataset(cell.data), self.classifier(cell)
        if cell.cls not in data.classes:
            raise unknown(f"class of data set {cell.data}:", cell.cls, data.classes)
        target = classifier.classes[self.target(cell)]
        alike = [c for c, name in self.class_names(cell.data, cell).items() if name == target]
        if len(alike) > 1:
            raise UsageError(
                f"the classes {' and '.join(map(repr, alike))} of {cell.data} are both {target!r} of {cell.classifier}",
                "put their samples together, or leave one of them out",
            )
        self._heldout_class(cell)
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
        others = cell.contrast or (cell.heldout if split == "heldout" and cell.heldout else cell.data)
        drawn_from = [asdict(ref) if ref else None for ref in (others, cell.data, cell.generator, segmenter)]
        exclude, names = self.classifier(cell).classes[self.target(cell)], self.class_names(others, cell)
        key = digest(["contrast", split, drawn_from, self._framing(cell), exclude, names, cell.cls, cell.data_seed])

        def make() -> RandomSets:
            data, pool = self._named(others, cell), self._kept_pool(cell)
            if data.modality != (modality := self.dataset(cell.data).modality):
                raise UsageError(
                    f"the random sets of {others} hold {data.modality}s, but {cell.data} holds {modality}s"
                )
            return RandomSets(
                data,
                exclude,
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
        ref, data = cell.generator, self.dataset(cell.data)
        phrases = drawn_phrases(data.vocabulary, data.modality)

        def pool(start_seed: int, n: int) -> Samples:
            key = {
                "generator": self.identity.component("generator", ref),
                "vocabulary": digest(phrases),
                "framing": asdict(framing) if (framing := self._drawn_framing(cell)) else None,
                "start_seed": start_seed,
                "n": n,
            }

            def make(directory: Path) -> None:
                save_samples(generate_pool(self._generator(ref, cell), phrases, start_seed, n), directory)

            return load_samples(self.store.artifact("contrast-samples", key, make), f"pool/{start_seed}")

        return pool

    def _generator(self, ref: Ref, cell: Cell) -> Generator:
        """A generator whose pictures have the size of the pictures of the class of a cell."""
        framing = self._drawn_framing(cell)  # first, since it may refuse the data before a large model is loaded
        made: Generator = self.component("generator", ref)
        return FramedGenerator(made, framing) if framing else made

    def _drawn_framing(self, cell: Cell) -> Framing | None:
        """How drawn pictures get the size of the pictures of the class of a cell; None for texts."""
        samples = self._of_class(cell, "explain", cell.budget.samples, "samples to explain")
        return framing_like(samples, getattr(self.classifier(cell), "framing", None))

    def task(self, cell: Cell, workdir: Path, progress: Progress) -> Task:
        """What a method is asked to do in this cell."""
        classifier, data = self.classifier(cell), self.data(cell)
        drawn_with = cell.generator if self.registry.draws(cell.method) else None
        generator = self._generator(drawn_with, cell) if drawn_with else None
        samples = self.explained(cell)

        def model(role: str) -> Any:
            if role not in cell.models:
                some = self.registry.played_by(role, samples.modality)
                raise MissingError(f"no model for the role {role!r}", f"name one with --model {role}={some}")
            return self.component("model", cell.models[role])

        return Task(
            classifier=classifier,
            layer=self.layer(cell),
            target=self.target(cell),
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
        """The samples of the class that metrics see: none that a method has seen, if they are from other data."""
        found = self._of_class(cell, "heldout", cell.budget.heldout, "held-out samples", cell.heldout)
        if cell.heldout is None:
            return found  # a data set keeps its splits apart
        new = self._unseen(cell, found)
        if not new:
            raise MissingError(f"every held-out sample of {cell.heldout} is explained, too", "name other data")
        return found.take(new)

    def _unseen(self, cell: Cell, samples: Samples) -> list[int]:
        """Positions of the samples that are not among the explained ones, nor copies of them."""
        explained = self.explained(cell)
        contents = _contents(explained, samples)
        seen = set(contents[: len(explained)])
        return [i for i, content in enumerate(contents[len(explained) :]) if content not in seen]

    def _heldout_class(self, cell: Cell) -> str:
        """What the data that are held out call the class of a cell; raises `UsageError` if they have none such."""
        if cell.heldout is None:
            return cell.cls
        wanted = self.classifier(cell).classes[self.target(cell)]
        names = self.class_names(cell.heldout, cell)
        found = next((c for c, name in names.items() if name == wanted), None)
        if found is None:
            raise unknown(f"class of data set {cell.heldout}, to be held out:", wanted, names)
        return found

    def _of_class(self, cell: Cell, split: Split, n: int, what: str, other: Ref | None = None) -> Samples:
        """Samples of the class of a cell, from its data set or from another one, which may call the class otherwise."""
        ref = other or cell.data
        cls = self._heldout_class(cell) if other else cell.cls
        whole = other is not None and other not in (cell.data, cell.contrast)  # methods see nothing of it

        def make() -> Samples:
            data = self.framed(ref, cell)
            drawn = data.samples(cls, split, n, cell.data_seed)
            if whole and len(drawn) < n:
                drawn = _filled(drawn, data, cls, n, cell.data_seed)
            if not len(drawn):
                hint = "" if other else "name a data set that has some with --heldout REF"
                raise MissingError(f"data set {ref} has no {what} of class {cls!r}", hint)
            return drawn

        return self._recent(digest([split, asdict(ref), self._framing(cell), cls, whole, n, cell.data_seed]), make)

    def _framing(self, cell: Cell) -> Any:
        """How the pictures of a cell are framed, as plain data."""
        framing = getattr(self.classifier(cell), "framing", None)
        return asdict(framing) if framing else None

    def _named(self, ref: Ref, cell: Cell) -> Dataset:
        """A data set whose pictures are framed, and whose classes are named, as by the classifier of a cell."""
        data, names = self.framed(ref, cell), self.class_names(ref, cell)
        return data if all(c == name for c, name in names.items()) else NamedData(data, names)

    def data(self, cell: Cell) -> Dataset:
        """The data set of a cell: its pictures framed, and its classes named, as by the classifier."""
        return self._named(cell.data, cell)


def _filled(drawn: Samples, data: Dataset, cls: str, n: int, seed: int) -> Samples:
    """n samples of data from which methods see nothing: its other splits are held out, too."""
    for split in ("explain", "train"):
        if len(drawn) < n:
            with contextlib.suppress(UsageError):  # the split has none
                more = data.samples(cls, split, n, seed)
                new = more.take([i for i, name in enumerate(more.ids) if name not in drawn.ids][: n - len(drawn)])
                drawn = Samples.concat([drawn, new]) if len(drawn) and len(new) else drawn if len(drawn) else new
    return drawn


def _contents(*parts: Samples) -> list[Any]:
    """What is alike for texts that are the same, and for images that are copies of one another."""
    if parts[0].modality == "text":
        return [text for samples in parts for text in samples.texts]
    import numpy as np

    from xcore.inputs.copies import description, groups

    pixels = (image.mul(255).round().byte().permute(1, 2, 0).numpy() for samples in parts for image in samples.images)
    return list(groups(np.stack([description(image) for image in pixels])))


def explained(task: Task) -> Samples | None:
    """The explained texts with the probability that the classifier gives the class; None for images."""
    if task.samples.modality != "text":
        return None
    found = task.classifier.logits(task.samples).double().softmax(1)[:, task.target].tolist()
    probability = tuple(p if math.isfinite(p) else None for p in found)
    return Samples("text", task.samples.texts, task.samples.ids, meta={"probability": probability})


class NamedData:
    """A data set whose classes are called as the classifier calls them; those that it does not know keep their names.

    Parameters
    ----------
    inner
        The data set.
    names
        Its class -> the name of the class here.
    """

    def __init__(self, inner: Dataset, names: Mapping[str, str]) -> None:
        self._inner = inner
        self._own = {name: c for c, name in names.items()}
        self.modality: Modality = inner.modality
        self.classes = tuple(names[c] for c in inner.classes)
        self.concepts = inner.concepts
        self.vocabulary = inner.vocabulary
        self.defaults = inner.defaults

    @property
    def skipped(self) -> tuple[str, ...]:
        return self._inner.skipped

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._inner.notes)

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        if cls is not None and cls not in self._own:
            raise unknown("class", cls, self.classes)
        return self._inner.samples(cls if cls is None else self._own[cls], split, n, seed)

    def concept(self, name: str, n: int, seed: int) -> Samples:
        return self._inner.concept(name, n, seed)

    def truth(self, classifier: str) -> Truth | None:
        return self._inner.truth(classifier)


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
