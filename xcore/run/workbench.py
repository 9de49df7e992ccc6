"""From a cell to live objects: components are made once a process, tasks are built from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import LRUCache

from xcore.base.digests import digest
from xcore.base.errors import MissingError, UsageError, XcoreError, unknown
from xcore.contract.protocols import Classifier, Dataset, Generator, Progress, Run, Task
from xcore.contract.samples import Samples
from xcore.contract.types import Cell, Explanation, Ref, Split, Truth
from xcore.inputs.class_names import ClassNames
from xcore.inputs.words import content_words
from xcore.models import batches
from xcore.registry import Registry
from xcore.run.classes import renaming
from xcore.run.data import (
    DataConcepts,
    KeptData,
    NamedData,
    TrainingData,
    chosen,
    class_names,
    framed_by,
    further_samples,
    match_notes,
    unseen,
)
from xcore.run.drawing import (
    FramedGenerator,
    drawn_phrases,
    few_words_note,
    framing_like,
)
from xcore.run.guard import Guard
from xcore.run.kept_pools import kept_pool
from xcore.run.plan import naming
from xcore.run.random_sets import Pool, RandomSets
from xcore.store.identity import Identity, code_digest, ref_key

if TYPE_CHECKING:
    from xcore.inputs.images import Framing
    from xcore.store.run_directory import Store


T = TypeVar("T")

RECENT = 5
"""Drawn sets that are kept: what is explained, random sets for methods, for metrics, held-out samples, and those of
another data set without copies; cells go class by class."""
LASTING = ("classifier", "dataset", "generator", "model")
"""Kinds of components that outlast the harm that a cell did to others. Methods and metrics may hold what was harmed."""
SEEN_SPLITS: tuple[Split, ...] = ("explain", "train")
"""Splits that methods see. Of data that are only held out, they see none, so that these are held out, too."""


class Workbench:
    """Makes components once and builds tasks and runs from them.

    Parameters
    ----------
    registry
        Where components come from.
    store
        Keeps artifacts that cells share.
    identity
        What the components are identified by, as far as somebody asked; None = nobody did.
    """

    def __init__(self, registry: Registry, store: Store, identity: Identity | None = None) -> None:
        self.registry = registry
        self.store = store
        self.identity = identity or Identity(registry)
        self.guard = Guard(self.forget)
        self._made: dict[str, Any] = {}
        self._lasting: set[str] = set()
        self._unset: dict[str, str] = {}
        self._drawn: LRUCache[str, Any] = LRUCache(RECENT)
        self._others = KeptData.cache()

    def component(self, kind: str, ref: Ref) -> Any:
        """The component of a reference, made when it is first asked for."""
        key = ref_key(kind, ref)
        if key not in self._made:
            self._made[key] = self.registry.create(kind, ref)
            if kind == "classifier" and not batches.give(self._made[key]):
                self._unset[key] = batches.no_batch_size(ref)
            try:
                self.guard.remember(key, kind, ref.text, self._made[key])
            except XcoreError:
                del self._made[key]
                raise
            if kind in LASTING:
                self._lasting.add(key)
        return self._made[key]

    def forget(self, keys: Collection[str]) -> None:
        """Make these components anew when they are next asked for, and all that may hold them or was made of them."""
        for key in [key for key in self._made if key in keys or key not in self._lasting]:
            del self._made[key]
        self._lasting -= {*keys}
        self._drawn.clear()
        self._others.clear()

    def artifact(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """A directory that cells share; it does not outlast the cell that made it if this one did harm."""
        made: list[Path] = []

        def noted(directory: Path) -> None:
            made.append(directory)
            make(directory)

        found = self.store.artifact(name, key, noted)
        if made:
            self.guard.made.append(found)
        return found

    def depends(self, command: str, cell: Cell, refs: Mapping[str, Sequence[Ref]]) -> Mapping[str, Any]:
        """Digests of what the findings of a command about a cell depend on: code, components, files and options.

        Parameters
        ----------
        refs
            Components beside those of the cell: kind -> references.
        """
        card, _ = self.registry.find("command", command.partition(" ")[0])
        given = {
            "dataset": [ref for ref in (cell.data, cell.contrast, cell.heldout) if ref],
            "generator": [cell.generator] if cell.generator else [],
            "model": list(cell.models.values()),
        }
        return {
            "command": code_digest(card),
            "explanation": self.identity.explanation(cell),
            "budget": asdict(cell.budget),
            **{
                kind: [self.identity.component(kind, ref) for ref in [*given.get(kind, []), *refs.get(kind, [])]]
                for kind in sorted({*given, *refs})
            },
        }

    def classifier(self, cell: Cell) -> Classifier:
        made: Classifier = self.component("classifier", cell.classifier)
        return made

    def dataset(self, ref: Ref) -> Dataset:
        made: Dataset = self.component("dataset", ref)
        return made

    def framed(self, ref: Ref, cell: Cell) -> Dataset:
        """A data set whose pictures are framed as the classifier of a cell frames them; made once for each framing."""
        key = digest([ref_key("dataset", ref), self._framing(cell)])
        if key not in self._made:
            self._made[key] = framed_by(self.dataset(ref), self.classifier(cell))
        made: Dataset = self._made[key]
        return made

    def _datasets(self, cell: Cell) -> list[Dataset]:
        """The data sets of a cell, as its classifier sees them if it was loaded."""
        loaded = ref_key("classifier", cell.classifier) in self._made
        refs = {ref_key("dataset", ref): ref for ref in (cell.data, cell.heldout, cell.contrast) if ref}
        return [self.framed(ref, cell) if loaded else self.dataset(ref) for ref in refs.values()]

    def notes(self, cell: Cell) -> list[str]:
        """What a reader must know of the data, and of what the models that were loaded left out of it."""
        classifier = self._made.get(ref_key("classifier", cell.classifier))
        named = [*self._name_notes(cell), *self._copy_notes(cell)] if classifier is not None else []
        data = self.dataset(cell.data)
        if classifier is not None and data.modality == "text":
            named += match_notes(self.class_names(cell.data, cell), classifier)
        if cell.generator and data.modality == "text" and self.registry.draws(cell.method):
            named += few_words_note(data.vocabulary, self._drawn_phrases(cell))
        of_data = [note for data in self._datasets(cell) for note in data.notes]
        models = [classifier, *(self._made.get(ref_key("model", ref)) for ref in cell.models.values())]
        of_models = [note for model in models for note in getattr(model, "notes", ())]
        unset = self._unset.get(ref_key("classifier", cell.classifier))
        return [*dict.fromkeys([*of_data, *of_models, *named, *([unset] if unset else [])])]

    def skipped(self, cell: Cell) -> list[str]:
        """The inputs that could not be read so far, one line each."""
        return [*dict.fromkeys(line for data in self._datasets(cell) for line in data.skipped)]

    def class_names(self, ref: Ref, cell: Cell) -> dict[str, str]:
        """Class of a data set -> the class of a cell's classifier that it is; itself if it is none of them."""
        key = digest(["class names", asdict(ref), asdict(cell.classifier)])
        if key not in self._made:
            self._made[key] = class_names(self.dataset(ref), self.classifier(cell), self._known_names(cell))
        names: dict[str, str] = self._made[key]
        return names

    def _known_names(self, cell: Cell) -> ClassNames:
        key = f"names of {ref_key('classifier', cell.classifier)}"
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
        return self.classifier(cell).classes.index(self._class(cell))

    def _class(self, cell: Cell) -> str:
        """What the classifier calls the class of a cell; raises as `target` does."""
        name = self._known_names(cell).match(cell.cls, self._other_names(cell))
        if not name:
            classifier = self.classifier(cell)
            raise unknown(
                f"class of classifier {cell.classifier}:",
                cell.cls,
                classifier.classes,
                more=getattr(classifier, "naming", "") or renaming(self.registry, cell.data),
            )
        return name

    def _other_names(self, cell: Cell) -> Sequence[str]:
        """What else the data set calls the class of a cell."""
        names: Sequence[str] = getattr(self.dataset(cell.data), "aliases", {}).get(cell.cls, ())
        return names

    def _name_notes(self, cell: Cell) -> list[str]:
        """Tell which class of the classifier is meant where its name does not say so by itself."""
        name = self._class(cell)
        if name == cell.cls or name in self._other_names(cell):
            return []
        return [f"class {cell.cls!r} of {cell.data} is the class {name!r} of {cell.classifier}"]

    def _copy_notes(self, cell: Cell) -> list[str]:
        """Tell how many held-out samples are left out because the methods see them, too."""
        if cell.heldout is None:
            return []
        found, new = self._heldout(cell)
        copies = len(found) - len(new)
        return [f"{copies} held-out sample(s) of {cell.heldout} are explained, too, and are left out"] if copies else []

    def check(self, cell: Cell) -> None:
        """Raise `UsageError` if the class or the layer of a cell is not there, or what its method checks is wrong."""
        data, classifier = self.dataset(cell.data), self.classifier(cell)
        if cell.cls not in data.classes:
            raise unknown(f"class of data set {cell.data}:", cell.cls, data.classes)
        if len(alike := self._called(cell.data, cell)) > 1:
            raise UsageError(
                f"the classes {' and '.join(map(repr, alike))} of {cell.data} are both {self._class(cell)!r} of "
                f"{cell.classifier}",
                "put their samples together, or leave one of them out",
            )
        self._heldout_class(cell)
        self._check_method(cell, data)
        if classifier.modality != data.modality:
            raise UsageError(
                f"classifier {cell.classifier} reads {classifier.modality}s, "
                f"but data set {cell.data} holds {data.modality}s"
            )
        if cell.layer and cell.layer not in classifier.layers:
            classifier.open(cell.layer)  # a layer need not be listed to be opened; raises for one that is not there

    def _check_method(self, cell: Cell, data: Dataset) -> None:
        """Raise what the method of a cell has against the data, if it reads such samples and looks at them first."""
        try:
            method = self.component("explainer", cell.method)
        except XcoreError:  # a method that cannot even be made fails in its own cell
            return
        if hasattr(method, "check") and data.modality in self.registry.find("explainer", cell.method)[0].modalities:
            method.check(data)

    def _called(self, ref: Ref, cell: Cell) -> list[str]:
        """The classes of a data set that are the class of a cell for the classifier."""
        wanted = self._class(cell)
        return [c for c, name in self.class_names(ref, cell).items() if name == wanted]

    def _heldout_class(self, cell: Cell) -> str:
        """What the data that are held out call the class of a cell; raises `UsageError` if they have none such."""
        if cell.heldout is None:
            return cell.cls
        if not (alike := self._called(cell.heldout, cell)):
            names = self.class_names(cell.heldout, cell)
            raise unknown(f"class of data set {cell.heldout}, to be held out:", self._class(cell), names)
        return alike[0]

    def layer(self, cell: Cell) -> str:
        """The layer of a cell: its own or the classifier's default."""
        return cell.layer or self.classifier(cell).default_layer

    def random_sets(self, cell: Cell, split: Split) -> RandomSets:
        """Random sets for a class; made once, so that every method and seed shares their pools."""
        segmenter = cell.models.get("segmenter")
        others = cell.contrast or (cell.heldout if split == "heldout" and cell.heldout else cell.data)
        drawn_from = [asdict(ref) if ref else None for ref in (others, cell.data, cell.generator, segmenter)]
        exclude, names = self._class(cell), self.class_names(others, cell)
        key = digest(["contrast", split, drawn_from, self._framing(cell), exclude, names, cell.cls, cell.data_seed])

        def make() -> RandomSets:
            data, pool = self._named(others, cell), self._kept_pool(cell)
            if data.modality != (modality := self.dataset(cell.data).modality):
                raise UsageError(
                    f"the random sets of {others} hold {data.modality}s, but {cell.data} holds {modality}s"
                )
            return RandomSets(
                KeptData(data, self._others, digest([asdict(others), self._framing(cell), names])),
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

    def _kept_pool(self, cell: Cell) -> Pool | None:
        """Makes the generated pools of a cell, which all cells of the run share."""
        if (ref := cell.generator) is None:
            return None
        phrases = self._drawn_phrases(cell)

        def about() -> dict[str, Any]:
            return {
                "generator": self.identity.component("generator", ref),
                "vocabulary": digest(phrases),
                "framing": asdict(framing) if (framing := self._drawn_framing(cell)) else None,
            }

        modality = self.dataset(cell.data).modality
        return kept_pool(self.artifact, self.store.busy, about, lambda: self._generator(ref, cell), phrases, modality)

    def _drawn_phrases(self, cell: Cell) -> tuple[str, ...]:
        """What the generated random sets of a cell are of."""
        data = self.dataset(cell.data)
        more = self.dataset(cell.contrast).vocabulary if cell.contrast and data.modality == "text" else ()
        return drawn_phrases(data.vocabulary, data.modality, more)

    def _generator(self, ref: Ref, cell: Cell) -> Generator:
        """A generator whose pictures have the size of the pictures of the class of a cell."""
        framing = self._drawn_framing(cell)  # first, since it may refuse the data before a large model is loaded
        made: Generator = self.component("generator", ref)
        return FramedGenerator(made, framing) if framing else made

    def _drawn_framing(self, cell: Cell) -> Framing | None:
        """How drawn pictures get the size of the pictures of the class of a cell; None for texts."""
        return framing_like(self._seen(cell), getattr(self.classifier(cell), "framing", None))

    def task(self, cell: Cell, workdir: Path, progress: Progress) -> Task:
        """What a method is asked to do in this cell."""
        classifier, data = self.classifier(cell), self.data(cell)
        drawn_with = cell.generator if self.registry.draws(cell.method) else None
        generator = self._generator(drawn_with, cell) if drawn_with else None
        samples, lent = self.explained(cell), self.guard.lent

        def model(role: str) -> Any:
            if role not in cell.models:
                how = naming(self.registry, role, samples.modality)
                raise MissingError(f"no model for the role {role!r}", f"name one with {how}")
            return self.component("model", cell.models[role])

        return Task(
            classifier=classifier,
            layer=self.layer(cell),
            target=self.target(cell),
            samples=samples,
            random_set=lent.sets("a random set", self.random_sets(cell, "train")),
            data=TrainingData(data, lent.copy),
            seed=cell.seed,
            concepts=DataConcepts(data, cell.budget.samples, cell.data_seed, lent.copy),
            # a word that no explained text says cannot be what makes them of their class
            vocabulary=content_words(samples.texts) if samples.modality == "text" else data.vocabulary,
            generator=generator,
            model=model,
            roles=tuple(cell.models),
            artifact=self.artifact,
            workdir=workdir,
            budget=cell.budget,
            progress=progress,
        )

    def run(self, cell: Cell, explanation: Explanation) -> Run:
        """A finished explanation with what a metric needs to judge it, but for the truth."""
        heldout_random_set = self.random_sets(cell, "heldout")
        for concept in explanation.concepts:
            if concept.samples is not None:
                self.guard.lent.note(f"those of the concept {concept.name!r}", concept.samples)
        drawn_by = {c.render.partition("+")[2] for c in explanation.concepts if c.render.startswith("generated:")}
        heldout_random_set.know_adapters(drawn_by - {""}, explanation.files)
        return Run(
            cell=cell,
            explanation=explanation,
            task=self.task(cell, Path(), lambda step, total, note="": None),
            heldout=self.guard.lent.share("the held-out samples", self.heldout(cell)),
            heldout_random_set=self.guard.lent.sets("a held-out random set", heldout_random_set),
        )

    def with_generator(self, task: Task, cell: Cell) -> Task:
        """The task with the generator of its cell, for a metric that draws, whether its method does or not."""
        return replace(task, generator=self._generator(cell.generator, cell)) if cell.generator else task

    def truth(self, cell: Cell) -> Truth | None:
        """What the classifier of a cell is known to use. Only metrics that need it ask: it may take minutes."""
        return self.dataset(cell.data).truth(str(cell.classifier))

    def explained(self, cell: Cell) -> Samples:
        """The samples of the class that a method sees: a copy, so that none can change what the next one is given."""
        return self.guard.lent.copy("the explained samples", self._seen(cell))

    def _seen(self, cell: Cell) -> Samples:
        """The samples of the class that a method sees, which nobody may change."""
        n, seed = cell.budget.samples, cell.data_seed
        if not cell.group:
            return self._of_class(cell, cell.split, n, "samples to explain")
        key = digest(["group", asdict(cell.data), self._framing(cell), cell.cls, cell.split, cell.group, n, seed])
        data = self.framed(cell.data, cell)
        return self._recent(key, partial(chosen, data, cell.cls, cell.split, cell.group, n, seed))

    def heldout(self, cell: Cell) -> Samples:
        """The samples of the class that metrics see: none that a method has seen, if they are from other data."""
        _, new = self._heldout(cell)
        if not len(new):
            raise MissingError(f"every held-out sample of {cell.heldout} is explained, too", "name other data")
        return new

    def _heldout(self, cell: Cell) -> tuple[Samples, Samples]:
        """The held-out samples as they are drawn, and those that are no copies of explained ones."""
        found = self._of_class(cell, "heldout", cell.budget.heldout, "held-out samples", cell.heldout)
        if cell.heldout is None:
            return found, found  # a data set keeps its splits apart
        seen = self._seen(cell)
        return found, self._recent(digest(["unseen", found.digest, seen.digest]), lambda: unseen(found, seen))

    def _of_class(self, cell: Cell, split: Split, n: int, what: str, other: Ref | None = None) -> Samples:
        """Samples of the class of a cell, from its data set or from another one, which may call the class otherwise."""
        ref = other or cell.data
        cls = self._heldout_class(cell) if other else cell.cls
        whole = other is not None and other not in (cell.data, cell.contrast)  # methods see nothing of it

        def make() -> Samples:
            data = self.framed(ref, cell)
            drawn = data.samples(cls, split, n, cell.data_seed)
            for further in SEEN_SPLITS if whole else ():
                if len(drawn) < n:
                    new = further_samples(drawn, data, cls, further, n, cell.data_seed)
                    drawn = Samples.concat([drawn, new]) if len(drawn) and len(new) else drawn if len(drawn) else new
            if not len(drawn):
                hint = "" if other else "name a data set that has some with --heldout REF"
                raise MissingError(f"data set {ref} has no {what} of class {cls!r}", hint)
            # A copy, since a data set may keep what it gives, and would give it again after a cell has changed it.
            return drawn if drawn.modality == "text" else replace(drawn, data=drawn.images.clone())

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
