"""`explain`, `open`, `data` and `load`: what a notebook or a script calls with a network and pictures at hand."""

from __future__ import annotations

import atexit
import contextlib
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import NotApplicable, UsageError
from xcore.base.process import prepare
from xcore.base.seeding import seeded
from xcore.base.temporary import temporary_folder
from xcore.contract.types import Explanation, Ref
from xcore.explained import Explained
from xcore.inputs.arrays import as_samples
from xcore.registry import Registry, load_registry
from xcore.run.checks import check_target, checked
from xcore.run.completing import completed
from xcore.run.live import as_ref, check_read, helpers, is_dataset, live_task, recipe
from xcore.run.progress import for_one_explanation

if TYPE_CHECKING:
    import torch

    from xcore.contract.protocols import Classifier, Dataset
    from xcore.contract.samples import Modality
    from xcore.inputs.arrays import Data
    from xcore.run.live import Given


def explain(
    method: str,
    classifier: torch.nn.Module | Classifier | str | Ref,
    samples: Given | str,
    *,
    target: str | int | None = None,
    class_names: Sequence[str] | Mapping[Any, Any] = (),
    contrast: Given | str | None = None,
    concepts: Mapping[str, Data] | None = None,
    layer: str = "",
    seed: int = 0,
    data_seed: int | None = None,
    options: Mapping[str, Any] | None = None,
    generator: Any = None,
    models: Mapping[str, Any] | None = None,
    vocabulary: Sequence[str] = (),
    n: int = 60,
    workdir: str | Path = "",
    plugins: Sequence[str | Path] = (),
    registry: Registry | None = None,
) -> Explained:
    """Explain one class of a network with one method.

    Parameters
    ----------
    method
        Name of an explainer.
    classifier
        A `torch.nn.Module` that maps (n, 3, H, W) in [0, 1] to logits, a reference such as ``"timm:resnet50"``, or
        anything that fulfils `Classifier`, such as what `xcore.open` gives.
    samples
        What is explained: images or texts of the class, in any of the forms of `xcore.inputs.arrays.as_samples`
        (tensors, arrays, PIL pictures, paths, lists of them), or a data set (`xcore.data`, or a reference such as
        ``"folder:DIR"``), whose other classes then serve for comparison.
    target
        Class name or index; a name in another spelling, or another name that the classifier knows, is found, too.
        None = the class that the classifier gives most of the samples.
    class_names
        The names of the module's outputs, in order, or a mapping index -> name such as ``config.id2label``. Without
        them, the names in the module's own ``config.id2label`` are taken, or ``class 0`` and so on.
    contrast
        Samples of other classes, or a data set, for methods that compare with random sets.
    concepts
        Name -> samples of a concept, for methods that explain by given concepts, such as tcav.
    layer
        A name in `named_modules()`; "" = the classifier's own default.
    seed
        Seed of the method.
    data_seed
        Seed of what is drawn from a data set, and of random sets; None = `seed`.
    options
        Options of the method, as on `xcore show METHOD`.
    generator, models
        For methods that draw or ask: a generator, and helper models by role. Each is an object, or the reference that
        the command line takes: ``"blip-decoder:DIR"``.
    vocabulary
        Of images: phrases to try. Of texts, whose own words are tried: words that random lists are drawn of for
        comparison, besides the words of the samples and of the contrast; thousands of words, most of which do not
        judge, are best. (Phrases to try on texts are an option of the method: ``options={"prompts": [...]}``.)
    n
        How many samples of the class are taken from a data set.
    workdir
        Where `Explanation.files` are written; "" = a temporary folder that is there as long as this process
        (`Explained.save` keeps its files, too).
    plugins
        Python files with plugins.

    Returns
    -------
    Explained

    Raises
    ------
    UsageError, MissingError
        For what is wrong with the request, or missing from it.
    NotApplicable
        If the method cannot explain this classifier.
    """
    seed, data_seed = _seed(seed), None if data_seed is None else _seed(data_seed)
    prepare()
    registry = registry or load_registry(plugins)
    ref = Ref(method, dict(options or {}))
    explainer = registry.create("explainer", ref)
    model = _classifier(classifier, class_names, samples, registry)
    drawing, played = helpers(registry, ref, generator, models or {}, model.modality)
    task, notes = live_task(
        model,
        _given(samples, model, registry),
        target,
        contrast=None if contrast is None else _given(contrast, model, registry),
        concepts=concepts,
        layer=layer,
        seed=seed,
        data_seed=data_seed,
        generator=drawing,
        models=played,
        vocabulary=vocabulary,
        n=n,
        renderings=registry.rendering,
    )
    check_read(model, task.samples)
    start = time.perf_counter()
    with for_one_explanation() as reporter:
        reporter.begin(0, 0)
        reporter.note(f"{method} explains {task.target_name!r}")
        task = replace(task, progress=reporter.step)
        made = _in_folder(workdir, lambda folder: _explained(explainer, replace(task, workdir=folder), method))
    seconds = time.perf_counter() - start - made.cost.shared_seconds
    of_models = [note for one in (model, *played.values()) for note in getattr(one, "notes", ())]
    said = (*made.notes, *dict.fromkeys([*notes, *of_models]))
    made = replace(completed(replace(made, notes=said), task), cost=replace(made.cost, seconds=seconds))
    about = recipe(registry, ref, task, classifier, generator, models or {}, vocabulary)
    return Explained.of(made, task.samples, about)


def _seed(given: Any) -> int:
    """The seed as an integer of Python; those of numpy and torch are, too."""
    try:
        seed = operator.index(given)
    except TypeError:
        seed = -1
    if not 0 <= seed < 2**32:
        raise UsageError(f"the seed is {given!r}", "pass a whole number from 0 to 2**32 - 1")
    return seed


def _explained(explainer: Any, task: Any, label: str) -> Explanation:
    from xcore.models.modules import outside_inference_mode

    try:
        with seeded(task.seed), outside_inference_mode():
            _read_once(explainer, task)
            check_target(task)
            return checked(explainer.explain(task), label, task)
    except NotApplicable as error:
        if closed := getattr(task.classifier, "closed", ""):
            raise NotApplicable(error.message, f"{closed}; pass the module that it was made from") from error
        raise


def _read_once(explainer: Any, task: Any) -> None:
    """Let one pass of the samples give their logits and what the method reads of them, where it reads a layer."""
    from xcore.models.probes import read_once

    if "activations" not in task.classifier.can or not task.layer:
        return
    first = task.classifier.logits(task.samples.take(range(min(2, len(task.samples)))))
    if not first[:, task.target].isfinite().all():
        return  # the check says so, before a method looks for its layer
    own, layer = getattr(explainer, "default_layer", None), task.layer
    if own is not None and layer == task.classifier.default_layer:
        layer = own(task.classifier, task.samples)
    if layer:
        read_once(task.classifier, layer, task.samples)


def _in_folder(workdir: str | Path, make: Callable[[Path], Explanation]) -> Explanation:
    """Call `make` with a folder for the explanation's files; one of ours lives as long as this process, if needed."""
    if workdir:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        return make(Path(workdir))
    with contextlib.ExitStack() as stack:
        made = make(stack.enter_context(temporary_folder()))
        if any(part.files for part in (made, *made.parts)):
            atexit.register(stack.pop_all().close)
        return made


def _classifier(given: Any, names: Any, samples: Any, registry: Registry) -> Classifier:
    """The classifier of a reference, a module or an object; the samples tell how many outputs a module has."""
    from xcore.models.classifiers import as_classifier
    from xcore.models.modules import is_module

    if (ref := as_ref(given)) is not None:
        given = registry.create("classifier", ref)
    like = None
    if not names and is_module(given) and not is_dataset(samples):
        with contextlib.suppress(UsageError):  # what is wrong with the samples is told when they are read in earnest
            read = as_samples(samples, "image")
            like = read if len(read) else None
    return as_classifier(given, names, like=like)


def _given(samples: Any, model: Classifier, registry: Registry) -> Any:
    """Samples as they are; for a reference of a data set, the data set."""
    if isinstance(samples, Ref):
        return registry.create("dataset", samples)
    if isinstance(samples, str) and model.modality == "image" and not Path(samples).expanduser().exists():
        known = {name for card in registry.cards("dataset") for name in (card.name, card.full_name)}
        if ":" in samples or samples in known:
            return registry.create("dataset", Ref(samples))
    return samples


def open(
    model: torch.nn.Module | str | Ref,
    *,
    class_names: Sequence[str] | Mapping[Any, Any] = (),
    size: int | tuple[int, int] | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    modality: Modality = "image",
    batch_size: int | None = None,
    device: str = "",
    plugins: Sequence[str | Path] = (),
    **options: Any,
) -> Classifier:
    """Open a network as a classifier, for `xcore.explain` and for its own methods (`logits`, `open(layer)`).

    Parameters
    ----------
    model
        A reference such as ``"timm:resnet50"``, ``"hf:DIR"`` or ``"file:model.safetensors"``, with its ``options``; or
        a `torch.nn.Module`, for which the other arguments are.
    class_names
        The names of the module's outputs; empty = those in its ``config.id2label``, else ``class 0`` and so on.
    size
        Side, or (height, width), in pixels, of the pictures that the module takes. Files and PIL pictures are resized
        to cover it and cropped at the centre.
    preprocess
        Turns images (n, 3, H, W) in [0, 1], or a tuple of texts, into the module's input, such as
        ``torchvision.transforms.Normalize(mean, std)``.
    modality
        "image" or "text".
    batch_size
        Samples per forward pass.
    device
        The torch device of the module; "" = where its weights are.
    plugins
        Python files with plugins.
    **options
        Options of the reference, as on `xcore show`; of a module ``output``, ``layouts`` and ``multi_label`` (see
        `xcore.models.classifiers.TorchClassifier`).

    Raises
    ------
    UsageError, MissingError
        The reference is not known, its weights are not there, or an option does not exist.
    """
    prepare(warn=False)  # the first call of a session may load torch
    from xcore.inputs.images import Framing
    from xcore.models.classifiers import as_classifier

    own = {"size": size, "preprocess": preprocess, "batch_size": batch_size, "device": device or None}
    given: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    if (ref := as_ref(model)) is not None:
        if class_names or "preprocess" in given or "size" in given:
            raise UsageError(
                f"{ref} has its own class names, size and preprocessing",
                "leave class_names, size and preprocess out, or pass the module itself",
            )
        made: Classifier = load_registry(plugins).create(
            "classifier", Ref(ref.text, {**ref.options, **options, **given})
        )
        return made
    known = (*own, "output", "layouts", "multi_label")
    if wrong := next((name for name in options if name not in known), ""):
        raise UsageError(f"there is no option {wrong!r} for a module", f"known are {', '.join(known)}")
    given.update(options)
    if size is not None:
        sides = _sides(size)
        given["framing"] = Framing(sides, min(sides))
    given.pop("size", None)
    return as_classifier(model, class_names, modality=modality, **given)


def _sides(size: Any) -> tuple[int, int]:
    """(height, width) of a side, or of both."""
    try:
        height, width = map(operator.index, size if isinstance(size, (list, tuple)) else (size, size))
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise UsageError(f"the size is {size!r}", "pass the side in pixels, such as 224, or (height, width)")
    return height, width


def data(ref: str | Ref, *, plugins: Sequence[str | Path] = (), **options: Any) -> Dataset:
    """Open a data set, such as ``"folder:my-images"`` or ``"minizoo"``.

    Parameters
    ----------
    ref
        The reference, as on the command line.
    plugins
        Python files with plugins.
    **options
        Its options, as on `xcore show`.

    Raises
    ------
    UsageError, MissingError
        The reference is not known, there is nothing to read, or an option does not exist.
    """
    prepare(warn=False)  # the first call of a session may load torch
    wanted = as_ref(ref)
    if wanted is None:
        raise UsageError(f"{type(ref).__name__} is no reference of a data set", "pass a string such as 'folder:DIR'")
    made: Dataset = load_registry(plugins).create("dataset", Ref(wanted.text, {**wanted.options, **options}))
    return made
