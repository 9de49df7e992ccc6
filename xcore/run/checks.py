"""Checks of what methods and metrics return, before it is kept; and whether a metric applies at all."""

from __future__ import annotations

import itertools
import math
import operator
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.base.errors import NotApplicable, UsageError, XcoreError
from xcore.base.files import as_json
from xcore.contract.protocols import Metric, Run, Task
from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Cost, Dictionary, Explanation, Score

DIRECTIONS = ("higher", "lower", "none")
ENCODERS = ("nnls", "linear", "onehot", "sae")
Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Layer -> the layout of its activations, and their shape for one sample, found once an explanation."""


def check_target(task: Task) -> None:
    """Raise `UsageError` if the logit of the explained class is infinite for a sample: there is nothing to explain.

    Some classifiers, such as those that learn class by class, mask the logits of other classes so.
    """
    logits = task.classifier.logits(task.samples)[:, task.target]
    bad = (~logits.isfinite()).nonzero().flatten().tolist()
    if bad:
        value = float(logits[bad[0]])
        masked = "the classifier masks this class; explain one that it can predict"
        raise UsageError(
            f"the logit of class {task.target_name!r} is {value} for {len(bad)} of {len(logits)} "
            f"samples, first {task.samples.ids[bad[0]]!r}",
            masked if value < 0 else "check the classifier's weights and preprocessing",
        )


def checked(made: Any, label: str, task: Task) -> Explanation:
    """The explanation; raises `XcoreError` for the first thing in it that is not as the contract says.

    The conformance tests of `xcore.testing` ask the same.
    """
    if not isinstance(made, Explanation):
        raise XcoreError(f"method {label!r} returned {type(made).__name__}, not an Explanation")
    for where, fault in explanation_faults(made, task):
        raise XcoreError(f"{where} of method {label!r}: {fault}" if where else f"method {label!r}: {fault}")
    return made


def explanation_faults(made: Any, task: Task) -> Iterator[tuple[str, str]]:
    """What in an explanation is not as the contract says: where ("" = in the explanation itself), and what it is."""
    shapes: Shapes = {}
    for part, one in (("", made), *((f"part {i}", p) for i, p in enumerate(_entries(made.parts)))):
        if not isinstance(one, Explanation):
            yield part, f"it is {_shown(one)}, not an Explanation"
            continue
        if not part and one.target != task.target_name:
            yield part, f"target is {one.target!r}; the task asks for {task.target_name!r}"
        for fault in _of_fields(one):
            yield part, fault
        of = f" in {part}" if part else ""
        for i, concept in enumerate(_entries(one.concepts)):
            name = repr(concept.name) if isinstance(concept, Concept) else "?"
            for fault in _of_concept(concept, i, one, task, shapes, whole=not part):
                yield f"concept {i} ({name}){of}", fault
        given = (c.importance for c in _entries(one.concepts) if isinstance(c, Concept))
        values = [float(value) for value in given if _is_number(value)]
        pairs = [*enumerate(itertools.pairwise(values))]
        wrong = [(i, more, less) for i, (more, less) in pairs if more < less]
        if wrong and any(abs(more) < abs(less) for _, (more, less) in pairs):  # some sort by size, whatever the sign
            i, more, less = wrong[0]
            yield part, f"concepts are not sorted: importance {more:.6g} at {i} comes before {less:.6g}"


def _of_fields(made: Any) -> Iterator[str]:
    """Faults of an explanation beside its concepts."""
    for name in ("method", "target", "importance_is"):
        value = getattr(made, name)
        if not _is(value, str) or not value.strip():
            yield f"{name} is {_shown(value)}; it must be a string that is not empty"
    for name, what, kind in (
        ("concepts", "concepts", Concept),
        ("parts", "explanations", Explanation),
        ("notes", "strings", str),
        ("trace", "mappings", Mapping),
    ):
        if fault := _no_list(getattr(made, name), name, what, kind):
            yield fault
    if isinstance(made.trace, (list, tuple)) and (fault := _not_plain(made.trace)):
        yield f"trace holds what no record can keep: {fault}"
    if not _is(made.files, Mapping):
        yield f"files is {_shown(made.files)}; it must map names to paths"
    else:
        for name, path in made.files.items():
            if not _is(name, str) or not _is(path, Path):
                yield f"files has {_shown(name)}: {_shown(path)}; it must map names to paths"
            elif not path.exists():
                yield f"files names {name!r}, and there is no file {path}"
    if not _is(made.cost, Cost):
        yield f"cost is {_shown(made.cost)}; it must be a Cost"
    else:
        for name, value in vars(made.cost).items():
            if not _is_number(value) or not math.isfinite(value) or value < 0:
                yield f"{name} of its cost is {_shown(value)}; it must be a number from 0"
    if made.dictionary is not None:
        yield from _of_dictionary(made.dictionary)


def _of_dictionary(made: Any) -> Iterator[str]:
    if not isinstance(made, Dictionary):
        yield f"dictionary is {_shown(made)}; it must be a Dictionary"
        return
    if not isinstance(made.layer, str) or not made.layer:
        yield f"the layer of its dictionary is {_shown(made.layer)}; it must be a name"
    if made.encoder not in ENCODERS:
        yield f"the encoder of its dictionary is {_shown(made.encoder)}; known are {', '.join(ENCODERS)}"
    state = made.state if isinstance(made.state, Mapping) else {}
    shapes: dict[str, tuple[Any, ...]] = {"atoms": ("k", "C"), "codes": ("N", "P", "k")}
    tensors = {"atoms": made.atoms, "codes": made.codes, **{f"state {k!r}": v for k, v in state.items()}}
    for name, tensor in tensors.items():
        if fault := _no_tensor(tensor, f"{name} of its dictionary", shapes.get(name)):
            yield fault
            return
    if made.codes.shape[-1] != made.atoms.shape[0]:
        shown = f"{tuple(made.codes.shape)} and {tuple(made.atoms.shape)}"
        yield f"codes and atoms of its dictionary have shapes {shown}; (N, P, k) and (k, C) share k"


def _of_concept(concept: Any, i: int, made: Any, task: Task, shapes: Shapes, whole: bool) -> Iterator[str]:
    """Faults of one concept; those of an explanation of single samples (a part) have maps of these samples only."""
    if not isinstance(concept, Concept):
        yield f"it is {_shown(concept)}, not a Concept"
        return
    if not _is(concept.name, str):
        yield f"name is {_shown(concept.name)}; it must be a string"
    numbers = {"importance": concept.importance}
    if _is(concept.evidence, Mapping):
        numbers |= concept.evidence
    else:
        yield f"evidence is {_shown(concept.evidence)}; it must map names to numbers"
    for what, number in numbers.items():
        if not _is_number(number):
            yield f"{what} is {_shown(number)}; it must be a number"
        elif not math.isfinite(number):
            yield f"{what} is {number}"
    if fault := _no_list(concept.words, "words", "strings", str):
        yield fault
    if not isinstance(concept.render, str) or not concept.render:
        yield f"render is {_shown(concept.render)}; it must be a string such as 'as-is'"
    yield from _of_samples(concept, task, whole)
    n = len(task.samples)
    pictures = task.samples.modality == "image"
    wanted = {"maps": (n, *task.samples.images.shape[2:]) if pictures else None, "local": (n,)}
    for what in ("maps", "local"):
        values = getattr(concept, what)
        if values is None:
            continue
        # a tensor of another shape that holds NaN is told of the NaN, which is what made it
        if fault := _no_tensor(values, "maps (kept as 16-bit floats)" if what == "maps" else what, half=what == "maps"):
            yield fault
        elif whole and wanted[what] is not None and tuple(values.shape) != wanted[what]:
            have = "have" if what == "maps" else "has"
            yield f"{what} {have} shape {tuple(values.shape)}, the samples need {wanted[what]}"
        elif what == "maps" and values.numel() and float(values.min()) < 0:
            yield f"maps hold {float(values.min()):.6g}; they must be 0 or more"
    yield from _of_directions(concept, task, shapes)
    if concept.atom is not None:
        atoms = len(made.dictionary.atoms) if isinstance(made.dictionary, Dictionary) else None
        if atoms is None:
            yield f"atom is {_shown(concept.atom)}, and the explanation has no dictionary"
        elif not _is_index(concept.atom, atoms):
            yield f"atom is {_shown(concept.atom)}; it must be the index of one of {atoms} atoms"
    if concept.parent is not None and (not _is_index(concept.parent, len(made.concepts)) or concept.parent == i):
        yield f"parent is {_shown(concept.parent)}; it must be the index of another of {len(made.concepts)} concepts"


def _of_samples(concept: Any, task: Task, whole: bool) -> Iterator[str]:
    """Faults of what shows a concept, and of where it was made from."""
    import torch

    samples = concept.samples
    if samples is not None and not _is(samples, Samples):
        yield f"samples is {_shown(samples)}; it must be Samples"
        return
    if samples is not None and samples.modality == "image":
        images = samples.images
        if fault := _no_values(images):
            yield f"samples are {fault}"
        elif images.dtype != torch.float32:
            yield f"samples are {images.dtype}; they must be torch.float32"
        elif images.numel():
            least, most = map(float, images.aminmax())
            if not (least >= 0 and most <= 1):
                yield f"samples hold values from {least:.6g} to {most:.6g}; they must be from 0 to 1"
    source = concept.source
    if source is None:
        return
    if not isinstance(source, torch.Tensor) or source.ndim != 1 or source.is_floating_point() or source.is_complex():
        yield f"source is {_shown(source)}; it must be a tensor (n,) of integers"
    elif whole and len(source) != len(samples if samples is not None else ()):
        shown = len(samples) if samples is not None else "no"
        yield f"source names {len(source)} samples, and the concept has {shown} samples"
    elif len(source) and not (int(source.min()) >= -1 and int(source.max()) < len(task.samples)):
        wrong = int(source.max()) if int(source.max()) >= len(task.samples) else int(source.min())
        yield f"source holds {wrong}; the task has samples 0 to {len(task.samples) - 1}, and -1 is for none of them"


def _of_directions(concept: Any, task: Task, shapes: Shapes) -> Iterator[str]:
    """Faults of the directions: at a layer that is there, as wide as its activations or as its channels."""
    if not _is(concept.directions, Mapping):
        yield f"directions is {_shown(concept.directions)}; it must map layers to tensors"
        return
    for layer, direction in concept.directions.items():
        if fault := _no_tensor(direction, f"direction at {layer!r}", ("d",)):
            yield fault
            continue
        try:
            if layer not in shapes:
                probe = task.classifier.open(layer)
                shapes[layer] = probe.layout, tuple(probe.activations(task.samples.take([0])).shape[1:])
            layout, shape = shapes[layer]
        except NotApplicable as error:  # such as a black box, which has no layers
            yield f"it has a direction at {layer!r}: {error}"
            continue
        except UsageError as error:
            yield str(error)
            continue
        channels = shape[-1] if layout == "NTC" else shape[0]
        places = len(direction) // channels if channels else 0
        fits = places * channels == len(direction) and (
            places in (1, math.prod(shape) // channels) or layout == "NTC"  # of texts, the longest decides
        )
        if not fits:
            wide = f"{channels} channels" + (f" or {math.prod(shape)} values" if len(shape) > 1 else "")
            yield f"direction at {layer!r} has {len(direction)} values; the layer has {wide}"


def _entries(given: Any) -> Sequence[Any]:
    return given if isinstance(given, (list, tuple)) else ()


def _no_list(given: Any, name: str, what: str, kind: type) -> str:
    """What is wrong with a field that must hold a tuple (or list) of a kind; a string is none of strings."""
    if not isinstance(given, (list, tuple)):
        return f"{name} is {_shown(given)}; it must be a tuple of {what}"
    wrong = next((entry for entry in given if not isinstance(entry, kind)), None)
    if any(not isinstance(entry, kind) for entry in given):
        return f"{name} holds {_shown(wrong)}; it must be a tuple of {what}"
    return ""


def _no_tensor(given: Any, name: str, axes: tuple[str, ...] | None = None, half: bool = False) -> str:
    """What is wrong with a field that must hold a finite tensor of floats, with these axes."""
    import torch

    if not isinstance(given, torch.Tensor):
        return f"{name} is {_shown(given)}; it must be a tensor"
    if fault := _no_values(given):
        return f"{name} is {fault}"
    if not given.is_floating_point():
        return f"{name} holds {given.dtype}; it must hold floats"
    if not bool((given.half() if half else given).isfinite().all()):
        return f"{name} holds numbers that are not finite"
    if axes is not None and given.ndim != len(axes):
        return f"{name} has shape {tuple(given.shape)}; it must have shape ({', '.join(axes)}{',' * (len(axes) == 1)})"
    return ""


def _no_values(tensor: Any) -> str:
    """What is wrong with a tensor whose values cannot be read one by one; "" if nothing is."""
    import torch

    if tensor.is_meta:
        return "on the device meta, where tensors hold no values"
    return "" if tensor.layout is torch.strided else f"of the layout {tensor.layout}; call to_dense()"


def _not_plain(value: Any) -> str:
    """Why a value is no plain data, as JSON has it; "" if it is."""
    try:
        as_json({"": value})
    except RecursionError:
        return "it is nested too deeply"
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _is(value: Any, kind: type) -> bool:
    """Whether a value is what its declared type promises: plugins need not have checked their types."""
    return isinstance(value, kind)


def _is_number(value: Any) -> bool:
    """Whether this is one number; those of numpy and tensors of one element count, too."""
    if isinstance(value, (str, bytes)):
        return False
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return True


def _is_index(value: Any, n: int) -> bool:
    try:
        return not isinstance(value, bool) and 0 <= operator.index(value) < n
    except TypeError:
        return False


def _shown(value: Any) -> str:
    """A value for a message: short, or its type."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        return f"the string {value[:40]!r}" + ("..." if len(value) > 40 else "")
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {type(value).__name__} {tuple(value.shape)} of {value.dtype}"
    return f"a {type(value).__name__}"


def checked_scores(scores: Any, judge: Metric | None = None, name: str = "", runs: Sequence[Run] = ()) -> list[Score]:
    """The scores; raises `XcoreError` for the first thing in them that is not as the contract says.

    Parameters
    ----------
    judge, name
        The metric, whose direction is checked, too, and the name that its scores must carry; "" = any.
    runs
        What was judged, so that a score of a concept that is not there is found.
    """
    if judge is not None and judge.direction not in DIRECTIONS:
        raise XcoreError(
            f"the direction of {name or type(judge).__name__} is {_shown(judge.direction)}; "
            f"it must be one of {', '.join(DIRECTIONS)}"
        )
    if not isinstance(scores, (list, tuple)):
        raise XcoreError(f"{name or 'the metric'} returned {_shown(scores)}, not a list of scores")
    most = max((len(run.explanation.concepts) for run in runs), default=None)
    seen = set()
    for score in scores:
        if not isinstance(score, Score):
            raise XcoreError(f"{name or 'the metric'} returned {_shown(score)} among its scores")
        if name and score.metric != name:
            raise XcoreError(f"a score of {name} carries the name {_shown(score.metric)}; it must be {name!r}")
        for fault in _of_score(score, most):
            raise XcoreError(fault)
        if (key := (score.concept, score.variant)) in seen:
            about = f" of the variant {score.variant!r}" if score.variant else ""
            raise XcoreError(f"{score.metric} gives {_judged(score)} two scores{about}")
        seen.add(key)
    return list(scores)


def metric_name(text: str) -> str:
    """The name that a metric's scores carry: CS for the reference ``xcore-metrics/CS``."""
    return text.partition(":")[0].rpartition("/")[2]


def _judged(score: Score) -> str:
    return "the explanation" if score.concept is None else f"concept {score.concept}"


def _of_score(score: Any, concepts: int | None) -> Iterator[str]:
    if score.concept is not None and not _is_index(score.concept, concepts if concepts is not None else sys.maxsize):
        of = "" if concepts is None else f" of {concepts} concepts"
        yield f"{score.metric} judges the concept {_shown(score.concept)}; it must be the index of one{of}"
        return
    where = _judged(score)
    details = score.details if isinstance(score.details, Mapping) else {}
    numbers: dict[str, Any] = {"value": score.value, "spread": score.spread, **details}
    for what, number in numbers.items():
        if number is None and what in ("value", "spread"):
            continue
        if not _is_number(number):
            yield f"{score.metric} gives {where} as {what} {_shown(number)}; it must be a number"
        elif not math.isfinite(number):
            yield f"{score.metric} gives {where} the {what} {number}"
    for what in ("variant", "over", *(("reason",) if score.value is None else ())):
        if not isinstance(getattr(score, what), str):
            yield f"{score.metric} gives {where} as {what} {_shown(getattr(score, what))}; it must be a string"
    if not _is_index(score.n, sys.maxsize):
        yield f"{score.metric} gives {where} as n {_shown(score.n)}; it must be a number of observations"
    if not all(_is_number(value) and math.isfinite(value) for value in score.samples):
        yield f"{score.metric} gives {where} single observations that are no finite numbers"


def not_applicable(metric: Metric, run: Run, kinds: Sequence[str] = ("image", "text")) -> str:
    """Why a metric for samples of these kinds does not apply to an explanation; empty if it does."""
    if run.heldout.modality not in kinds:
        return run.heldout.modality  # shown as it is, n/a (text)
    concepts = run.explanation.concepts
    shown = {c.samples.modality for c in concepts if c.samples is not None}
    for need in sorted(metric.needs):
        name, _, kind = need.partition(":")
        if name == "truth" and run.truth is None:
            return f"no truth table for {run.cell.classifier} on {run.cell.data}"
        if name == "samples" and (not shown or (kind and kind not in shown)):
            return f"its concepts have no samples that are {kind}s" if kind else "its concepts have no samples"
        if name in ("maps", "directions") and not any(_has(getattr(c, name)) for c in concepts):
            return f"its concepts have no {name}"
        if name == "dictionary" and run.explanation.dictionary is None:
            return "it has no dictionary"
    return ""


def _has(value: Any) -> bool:
    return value is not None and len(value) > 0
