"""A task from live objects: a module, tensors and names, without data sets or files."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import __version__
from xcore.base.errors import MissingError, UsageError, unknown
from xcore.base.files import cache_directory
from xcore.contract.protocols import Classifier, Dataset, Task
from xcore.contract.samples import Modality, Samples
from xcore.contract.types import Budget, Ref, Split, Truth
from xcore.inputs.arrays import as_samples
from xcore.inputs.class_names import ClassNames, find_class
from xcore.inputs.words import content_words
from xcore.run.data import DataConcepts, NamedData, TrainingData, class_names, framed_by, match_notes
from xcore.run.drawing import FramedGenerator, drawn_phrases, few_words_note, framing_like
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Artifacts

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from xcore.inputs.arrays import Data
    from xcore.registry import Registry

    Given = Data | Dataset
    """Samples in any form, or a data set that has them."""


def live_task(
    model: Classifier,
    given: Given,
    target: str | int | None,
    *,
    contrast: Given | None = None,
    concepts: Mapping[str, Data] | None = None,
    layer: str = "",
    seed: int = 0,
    data_seed: int | None = None,
    generator: Any = None,
    models: Mapping[str, Any] | None = None,
    vocabulary: Sequence[str] = (),
    n: int = 60,
    renderings: Callable[[str], Any] = lambda name: None,
    artifacts: Path | None = None,
) -> tuple[Task, list[str]]:
    """The task of `xcore.explain` (see there), and what a reader must know of the data, one line each.

    Parameters
    ----------
    artifacts
        Where several calls keep what they share; None = the user's cache.
    """
    helper_models: Mapping[str, Any] = models or {}
    if isinstance(vocabulary, str) or not all(isinstance(phrase, str) for phrase in vocabulary):
        raise UsageError("the vocabulary must be a list of strings", "pass vocabulary=[phrase, ...]")
    draw = seed if data_seed is None else data_seed
    subject = _subject(model, given, target, contrast, tuple(vocabulary), n, draw)
    samples, name = subject.samples, model.classes[subject.target]
    framing = framing_like(samples, getattr(model, "framing", None))
    if framing is not None and getattr(generator, "modality", None) == "image":
        generator = FramedGenerator(generator, framing)

    def helper(role: str) -> Any:
        if role not in helper_models:
            raise MissingError(f"no model for the role {role!r}", f"pass models={{{role!r}: ...}}")
        return helper_models[role]

    named = {c: _usable(images, model, f"concept {c!r}") for c, images in (concepts or {}).items()}
    known, notes = tuple(dict.fromkeys((*vocabulary, *subject.data.vocabulary))), subject.notes
    phrases = drawn_phrases(known, samples.modality, subject.others.vocabulary)
    if samples.modality == "text" and generator is not None:
        notes = [*notes, *few_words_note(known, phrases), *_vocabulary_note(vocabulary)]
    task = Task(
        classifier=model,
        layer=layer or model.default_layer,
        target=subject.target,
        samples=samples,
        random_set=RandomSets(
            subject.others,
            name,
            "train",
            seed=draw,
            generator=generator,
            vocabulary=phrases,
            segmenter=partial(helper, "segmenter") if "segmenter" in helper_models else None,
            renderings=renderings,
            pool_size=getattr(subject.others, "pool_size", None),
        ),
        data=TrainingData(subject.data),
        seed=seed,
        concepts=named or DataConcepts(subject.data, len(samples), draw),
        # A word that no explained text says cannot be what makes them of their class.
        vocabulary=words_of(samples) or tuple(vocabulary) or tuple(subject.data.vocabulary),
        generator=generator,
        model=helper,
        roles=tuple(helper_models),
        artifact=Artifacts(artifacts or cache_directory() / "artifacts").get,
        budget=Budget(samples=len(samples)),
    )
    return task, notes


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is explained: samples of one class, and the data sets that they and those of other classes are from."""

    target: int
    samples: Samples
    data: Dataset
    others: Dataset
    notes: list[str]


def _subject(
    model: Classifier,
    given: Given,
    target: str | int | None,
    contrast: Given | None,
    vocabulary: tuple[str, ...],
    n: int,
    draw: int,
) -> _Subject:
    if is_dataset(given):
        return _of_dataset(model, given, target, contrast, n, draw)
    samples = _usable(given, model, "samples")
    index, notes = _most_predicted(model, samples) if target is None else (_target(model, target), [])
    name = model.classes[index]
    if contrast is not None and is_dataset(contrast):
        others = _named_as_by(model, contrast)
        return _Subject(index, samples, LiveData(samples, name, None, _phrases(vocabulary, samples)), others, notes)
    beside = None if contrast is None else _usable(contrast, model, "contrast")
    data = LiveData(samples, name, beside, _phrases(vocabulary, samples, beside))
    return _Subject(index, samples, data, data, notes)


def _of_dataset(
    model: Classifier, given: Dataset, target: str | int | None, contrast: Given | None, n: int, draw: int
) -> _Subject:
    """Samples of a class of a data set, with those of its other classes beside them."""
    if given.modality != model.modality:
        raise UsageError(f"the classifier reads {model.modality}s, but the data set holds {given.modality}s")
    data, names = _named_as_by(model, given), class_names(given, model)
    if target is None:
        raise UsageError("the target is missing", f"pass target=, one of {', '.join(map(repr, given.classes[:10]))}")
    own = ClassNames(given.classes, getattr(given, "aliases", None), indexed=False)
    found = own.candidates(target) if isinstance(target, str) else ()
    index = _target(model, names[found[0]] if len(found) == 1 else target)
    name = model.classes[index]
    if name not in data.classes:
        raise unknown("class of the data set:", name, given.classes)
    samples = data.samples(name, "explain", n, draw)
    if not len(samples):
        raise MissingError(f"the data set has no samples to explain of class {name!r}")
    if contrast is None:
        others = data
    elif is_dataset(contrast):
        others = _named_as_by(model, contrast)
    else:
        others = LiveData(samples, name, _usable(contrast, model, "contrast"), data.vocabulary)
    lost = data.skipped
    left_out = [f"{len(lost)} input(s) of the data were left out: {'; '.join(lost[:3])}"] if lost else []
    matched = match_notes(names, model) if given.modality == "text" else []
    return _Subject(index, samples, data, others, [*data.notes, *left_out, *matched])


def _named_as_by(model: Classifier, data: Dataset) -> Dataset:
    """A data set whose pictures are framed, and whose classes are named, as by the classifier."""
    return NamedData(framed_by(data, model), class_names(data, model))


def _most_predicted(model: Classifier, samples: Samples) -> tuple[int, list[str]]:
    """The class that the classifier gives most of the samples, and a line that says so."""
    check_read(model, samples)
    found = model.logits(samples).argmax(1).bincount()
    index = int(found.argmax())
    return index, [
        f"no target was named: the class {model.classes[index]!r} is explained, which the classifier gives "
        f"{int(found[index])} of {len(samples)} sample(s)"
    ]


def helpers(
    registry: Registry, method: Ref, generator: Any, given: Mapping[str, Any], modality: str
) -> tuple[Any, dict[str, Any]]:
    """The generator, and role -> helper model: the given ones, and those that play a role of the method unasked.

    Every reference is checked before the first model is loaded, and what the method needs must be given.
    """
    known = registry.known_roles() | set(registry.roles(method))
    for role, model in given.items():
        if role not in known:
            raise unknown("role", role, known)
        if (ref := as_ref(model)) is not None:
            registry.find_model(role, ref)
            registry.options("model", ref)
    unasked = registry.fallbacks((r for r in registry.roles(method) if r not in given), modality)
    named = [*given, *unasked, *(["generator"] if generator is not None else [])]
    if lacking := registry.lacking(method, named, modality):
        what, example = f"a model of the role {lacking!r}", repr(registry.played_by(lacking, modality))
        if lacking == "generator":
            raise MissingError(f"method {method} needs a generator", f"pass generator={example}")
        raise MissingError(f"method {method} needs {what}", f"pass models={{{lacking!r}: {example}}}")
    made = {role: component(registry, "model", model) for role, model in {**given, **unasked}.items()}
    return component(registry, "generator", generator), made


class HelpersInNeed(Mapping[str, Any]):
    """Role -> helper model, made when it is first asked for: whoever finds concepts again needs few of them."""

    def __init__(self, registry: Registry, given: Mapping[str, Any]) -> None:
        self._registry, self._given = registry, given
        self._made: dict[str, Any] = {}

    def __getitem__(self, role: str) -> Any:
        if role not in self._made:
            self._made[role] = component(self._registry, "model", self._given[role])
        return self._made[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


def component(registry: Registry, kind: str, given: Any) -> Any:
    """The component of a reference, ``NAME[:ARGUMENT]`` or a `Ref` with options; objects are returned as they are."""
    return given if (ref := as_ref(given)) is None else registry.create(kind, ref)


def as_ref(given: Any) -> Ref | None:
    """The reference that a string or a `Ref` is; None for objects."""
    return Ref(given) if isinstance(given, str) else given if isinstance(given, Ref) else None


def recipe(
    registry: Registry,
    method: Ref,
    task: Task,
    classifier: Any,
    generator: Any,
    models: Mapping[str, Any],
    vocabulary: Sequence[str],
) -> dict[str, Any]:
    """How an explanation is made, as JSON holds it; an object that has no reference is named by its type."""
    chosen = registry.options("explainer", method)
    return {
        "method": {"text": method.text, "options": chosen.model_dump(mode="json") if chosen is not None else {}},
        "classifier": _described(classifier),
        "preprocesses": getattr(getattr(task.classifier, "model", None), "preprocess", None) is not None,
        "classes": list(task.classifier.classes),
        "target": task.target,
        "layer": task.layer,
        "seed": task.seed,
        "generator": None if generator is None else _described(generator),
        "models": {role: _described(model) for role, model in models.items()},
        "vocabulary": list(vocabulary),
        "plugins": [str(file) for file in registry.files],
        "version": __version__,
    }


def _described(given: Any) -> dict[str, Any]:
    ref = as_ref(given)
    return {"type": type(given).__name__} if ref is None else {"text": ref.text, "options": dict(ref.options)}


def _phrases(vocabulary: tuple[str, ...], *parts: Samples | None) -> tuple[str, ...]:
    """The given phrases and the words of texts: what random sets are drawn of."""
    return tuple(dict.fromkeys((*vocabulary, *words_of(*parts))))


def _vocabulary_note(vocabulary: Sequence[str]) -> list[str]:
    if not vocabulary:
        return []
    return [f"the seeds are words of the texts; random lists are drawn of the {len(vocabulary)} given phrase(s), too"]


def words_of(*parts: Samples | None) -> tuple[str, ...]:
    """The content words of texts; none of images."""
    return content_words(text for part in parts if part is not None and part.modality == "text" for text in part.texts)


def is_dataset(given: Any) -> TypeIs[Dataset]:
    """Whether this is a data set, rather than samples."""
    return all(hasattr(given, name) for name in ("samples", "classes", "concept"))


def _usable(data: Data, model: Classifier, what: str) -> Samples:
    """The data as samples, if there are any and the classifier reads them."""
    made = as_samples(data, model.modality, getattr(model, "framing", None))
    if model.modality != made.modality:
        raise UsageError(f"the classifier reads {model.modality}s, but {what!r} are {made.modality}s")
    if not len(made):
        raise UsageError(f"{what} is an empty list", "pass some of the class" if what == "samples" else "or pass None")
    return made


def check_read(model: Classifier, samples: Samples) -> None:
    """Raise `UsageError` if the classifier cannot read the samples, as one that takes pictures of one size only."""
    from xcore.models.torch_model import CannotRun

    try:
        model.logits(samples.take([0]))
    except (RuntimeError, ValueError, AssertionError, CannotRun) as error:  # what modules raise for a wrong input size
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "pass them as the classifier takes them"
        if isinstance(error, CannotRun):
            reason, hint = error.reason, error.hint
        shown = f"of shape {tuple(samples.images.shape)}" if samples.modality == "image" else "as they are"
        raise UsageError(f"the classifier cannot read the samples {shown}: {reason}", hint) from error


def _target(model: Classifier, target: str | int) -> int:
    if not isinstance(target, str):
        try:
            index = operator.index(target)  # integers of numpy and of torch are indices, too
        except TypeError:
            what = type(target).__name__
            raise UsageError(f"the target is a {what}", "pass the name or the index of a class") from None
        if not 0 <= index < len(model.classes):
            raise UsageError(f"target {index} is not one of {len(model.classes)} classes")
        return index
    more = getattr(model, "naming", "")
    return model.classes.index(find_class(target, model.classes, getattr(model, "aliases", None), more=more))


class LiveData:
    """The given samples as one class, and the contrast as all the rest."""

    concepts: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, samples: Samples, name: str, contrast: Samples | None, vocabulary: tuple[str, ...]) -> None:
        self.modality: Modality = samples.modality
        self.name = name
        self.classes: tuple[str, ...] = (name,) if contrast is None else (name, "contrast")
        self.vocabulary = vocabulary
        self.defaults: Mapping[str, str] = {}
        self.pool_size = None if contrast is None else max(1, len(contrast) // 2)
        self._parts = {name: samples, "contrast": contrast}

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        part = self._parts.get(cls or self.name)
        if part is None:
            raise MissingError("this method compares with samples of other classes", "pass them as contrast")
        return part.take(range(min(n, len(part))))

    def concept(self, name: str, n: int, seed: int) -> Samples:
        raise unknown("concept", name, ())

    def truth(self, classifier: str) -> Truth | None:
        return None
