"""A task from live objects: a module, tensors and names, without data sets or files."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import MissingError, UsageError, unknown
from xcore.contract.protocols import Classifier, Task
from xcore.contract.samples import Modality, Samples
from xcore.contract.types import Budget, Ref, Split, Truth
from xcore.inputs.arrays import as_samples
from xcore.inputs.class_names import find_class
from xcore.inputs.words import content_words
from xcore.run.data import TrainingData
from xcore.run.drawing import FramedGenerator, framing_like
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Store

if TYPE_CHECKING:
    from xcore.inputs.arrays import Data
    from xcore.registry import Registry


def live_task(
    model: Classifier,
    samples: Data,
    target: str | int,
    *,
    contrast: Data | None,
    layer: str,
    seed: int,
    generator: Any,
    models: Mapping[str, Any],
    vocabulary: Sequence[str],
    renderings: Callable[[str], Any],
    workdir: Path,
    store: Path,
) -> Task:
    """Build the task of `xcore.explain` (see there)."""
    index = _target(model, target)
    given = _usable(samples, model, "samples")
    others = None if contrast is None else _usable(contrast, model, "contrast")
    if isinstance(vocabulary, str) or not all(isinstance(phrase, str) for phrase in vocabulary):
        raise UsageError("the vocabulary must be a list of strings", "pass vocabulary=[phrase, ...]")
    vocabulary = tuple(vocabulary)
    framing = framing_like(given, getattr(model, "framing", None))
    if framing is not None and getattr(generator, "modality", None) == "image":
        generator = FramedGenerator(generator, framing)
    data = LiveData(given, model.classes[index], others, vocabulary or words_of(given, others))

    def helper(role: str) -> Any:
        if role not in models:
            raise MissingError(f"no model for the role {role!r}", f"pass models={{{role!r}: ...}}")
        return models[role]

    return Task(
        classifier=model,
        layer=layer or model.default_layer,
        target=index,
        samples=given,
        random_set=RandomSets(
            data,
            data.name,
            "train",
            seed=0,
            generator=generator,
            vocabulary=data.vocabulary,
            segmenter=partial(helper, "segmenter") if "segmenter" in models else None,
            renderings=renderings,
            pool_size=data.pool_size,
        ),
        data=TrainingData(data),
        seed=seed,
        vocabulary=vocabulary or words_of(given),
        generator=generator,
        model=helper,
        roles=tuple(models),
        artifact=Store(store).artifact,
        workdir=workdir,
        budget=Budget(samples=len(given)),
    )


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
        if (ref := _ref(model)) is not None:
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


def component(registry: Registry, kind: str, given: Any) -> Any:
    """The component of a reference, ``NAME[:ARGUMENT]`` or a `Ref` with options; objects are returned as they are."""
    return given if (ref := _ref(given)) is None else registry.create(kind, ref)


def _ref(given: Any) -> Ref | None:
    return Ref(given) if isinstance(given, str) else given if isinstance(given, Ref) else None


def words_of(*parts: Samples | None) -> tuple[str, ...]:
    """The content words of texts; none of images."""
    return content_words(text for part in parts if part is not None and part.modality == "text" for text in part.texts)


def _usable(data: Data, model: Classifier, what: str) -> Samples:
    """The data as samples, if there are any and the classifier reads them."""
    made = as_samples(data)
    if model.modality != made.modality:
        raise UsageError(f"the classifier reads {model.modality}s, but {what!r} are {made.modality}s")
    if not len(made):
        raise UsageError(f"{what} is an empty list", "pass some of the class" if what == "samples" else "or pass None")
    return made


def check_read(task: Task) -> None:
    """Raise `UsageError` if the classifier cannot read the samples, as one that takes pictures of one size only."""
    try:
        task.classifier.logits(task.samples.take([0]))
    except (RuntimeError, ValueError, AssertionError) as error:  # what modules raise for a wrong input size
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        shown = f"of shape {tuple(task.samples.images.shape)}" if task.samples.modality == "image" else "as they are"
        hint = "pass them as the classifier takes them"
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
    return model.classes.index(find_class(target, model.classes, getattr(model, "aliases", None)))


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
