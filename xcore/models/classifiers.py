"""Ready-made classifiers: one for a torch module, and one for a Python function, which gives no gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xcore.base.errors import NotApplicable, UsageError, unknown
from xcore.contract.protocols import Classifier
from xcore.contract.samples import Modality, Samples
from xcore.inputs.class_names import Aliases, class_list, counted, numbered
from xcore.inputs.images import Framing
from xcore.models.behaviour import depends_on, unprepared
from xcore.models.graph import LayerInfo, Layout, survey, tensors_in, useful_layers
from xcore.models.heads import Head, default_layer, find_heads
from xcore.models.intake import WrongSize, artificial_pictures, sizes_to_try
from xcore.models.modules import checked_module, closed_because, plain
from xcore.models.outputs import Reading, Scores
from xcore.models.probes import TorchProbe
from xcore.models.torch_model import CannotRun, Preprocess, TensorCache, TorchModel, check_numbers

ClassList = Sequence[str] | Mapping[Any, Any]
"""Names in the order of the logits, or a mapping index -> name or name -> index."""

AXES: Mapping[str, tuple[Layout, bool]] = {
    "NCHW": ("NCHW", False),
    "NHWC": ("NCHW", True),
    "NTC": ("NTC", False),
    "NCT": ("NTC", True),
}
"""Order of the axes of a layer's output -> the layout in which a probe gives it, and whether it turns it for this."""


class TorchClassifier:
    """A `torch.nn.Module` with class names as a classifier (protocol `xcore.contract.protocols.Classifier`).

    The module runs in evaluation mode, without gradients to its weights, and is left as it was found. Results are
    float32 on the CPU. They are cached by the content of the samples.

    Whoever loads a network may set `naming`, how a user can name classes that are only numbered (for the hint of an
    unknown class), and `remarks`, what a reader must know of the network, one line each: part of `notes`.

    Parameters
    ----------
    module
        Returns logits (n, classes), or an object that holds them (see `xcore.models.outputs.Reading`).
    classes
        Names of the classes, in the order of the logits, or a mapping index -> name. A name that appears several times
        gets its index added. Of a module with one logit z, two names are those of the labels 0 and 1, whose logits are
        -z and z; one name is that of the class with the logit z, and "not NAME" is the other.
    preprocess
        Turns images (n, 3, H, W) in [0, 1] on the model's device (or a tuple of strings) into the module's input: a
        tensor, a tuple of positional arguments or a mapping of keyword arguments. None = the data is the input.
    layers
        Layers to list; None = all that are called once and return one tensor of rank 2 to 4.
    default_layer
        The layer to explain unless the user names another. None = the last block with positions through which
        everything passes and above which the network is not affine (see `xcore.models.heads`).
    modality
        "image" or "text".
    device
        The device to run on; None = the device of the module's weights.
    batch_size
        Samples per forward pass.
    input_size
        Side of the square images, or (height, width), that the module takes, in pixels; None = that of `framing`, or
        common sizes are tried.
    framing
        How pictures of any size become the module's input. Data sets read their files so.
    aliases
        Class name -> other names by which a data set or a user may call the class.
    cache_mb
        Size of the cache, in MB.
    output
        Where the logits are in what the module returns, if it returns several tensors: a name or an index.
    layouts
        Layer -> the order of its output's axes, ``"NCHW"``, ``"NHWC"``, ``"NTC"`` or ``"NCT"``, for layers where
        nothing shows which axis holds the channels.
    multi_label
        Whether a sample may have several of the classes, each with a sigmoid of its own; None = as the module's
        ``config.problem_type`` says, else not.

    Raises
    ------
    UsageError
        There are no class names, a mapping of them has other indices than 0, 1, 2 and so on, a layer does not exist, or
        the module's weights are not there.
    """

    naming: str = ""
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        module: nn.Module,
        classes: ClassList,
        *,
        preprocess: Preprocess | None = None,
        layers: Sequence[str] | None = None,
        default_layer: str | None = None,
        modality: Modality = "image",
        device: str | torch.device | None = None,
        batch_size: int = 64,
        input_size: int | tuple[int, int] | None = None,
        framing: Framing | None = None,
        aliases: Mapping[str, Sequence[str]] | None = None,
        cache_mb: int = 256,
        output: str | int | None = None,
        layouts: Mapping[str, str] | None = None,
        multi_label: bool | None = None,
    ) -> None:
        self.modality: Modality = modality
        names = checked_classes(classes)
        self.aliases = _aliases(names, classes, aliases)
        self.classes: tuple[str, ...] = (*names, f"not {names[0]}") if len(names) == 1 else names
        cache = TensorCache(cache_mb * 2**20)
        opposite = self.classes[1] == f"not {self.classes[0]}"
        reading = Reading(self.classes, wanted=output, positive=0 if opposite else 1)
        self.model = TorchModel(module, preprocess, device=device, batch_size=batch_size, cache=cache, reading=reading)
        self.closed = closed_because(self.model.module)
        """Why the classifier is a black box; empty if it can be opened at its layers."""
        self.can = frozenset[str]() if self.closed else frozenset({"activations", "gradients"})
        problem = getattr(getattr(self.model.module, "config", None), "problem_type", None)
        self._multi_label = problem == "multi_label_classification" if multi_label is None else multi_label
        self._behaves: tuple[str, ...] = ()
        self._unprepared = "" if preprocess is not None or modality != "image" else unprepared(self.model.module)
        self.framing = framing
        self._input_size = input_size if input_size is not None or framing is None else framing.size
        self._probes: dict[str, TorchProbe] = {}
        if layers is not None:
            self.layers = tuple(layers)
        if default_layer is not None:
            self.default_layer = default_layer
        self._layouts = dict(layouts or {})
        modules = dict(self.model.module.named_modules())
        for name in (*(layers or ()), *([default_layer] if default_layer is not None else []), *self._layouts):
            if name not in modules:
                raise unknown("layer", name, [n for n in modules if n])
        for order in self._layouts.values():
            if order not in AXES:
                raise unknown("order of axes", order, AXES)

    def __repr__(self) -> str:
        """One line; the module itself is ``model.module``."""
        inside = type(self.model.module).__name__
        return f"<{type(self).__name__} of {inside}, reads {self.modality}s, {counted(self.classes)}>"

    @property
    def scores(self) -> Scores:
        """What the logits are (see `xcore.models.outputs.Scores`), as far as it is known."""
        if self.model.reading.ending in ("softmax", "sigmoid"):
            return "probabilities"
        return "independent" if self._multi_label or self.model.reading.one_logit else "exclusive"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the network, as far as it has been seen so far, one line each."""
        reading, told = self.model.reading, list(self.model.intake.notes)
        if self._unprepared:
            told.append(self._unprepared)
        if reading.one_logit:
            positive, negative = self.classes[reading.positive], self.classes[1 - reading.positive]
            how = "1 minus it" if reading.ending == "sigmoid" else "minus it"
            told.append(f"the network gives one number: it is that of {positive!r}, and {negative!r} has {how}")
        elif self._multi_label:
            told.append(
                "the classes do not exclude one another: each has a probability of its own (sigmoid), and the class "
                "that a sample is said to get is that of the highest logit"
            )
        if reading.chosen:
            told.append(f"the logits are the output {reading.chosen} that the network returns")
        if reading.ending:
            told.append(
                f"the network ends in {reading.ending}: what is explained is no logit but what comes after it, which "
                "depends on all classes or hardly changes where it is sure; leave that layer out to explain the logit"
            )
        return (*self.remarks, *told, *self._behaves)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The layers that can be explained, in the order in which they finish in a forward pass."""
        return () if self.closed else useful_layers(self.model.module, self.found)

    @cached_property
    def default_layer(self) -> str:
        """The layer to explain unless the user names another; "" if there is none."""
        return "" if self.closed else default_layer(self.model.module, self.found, self.layers, self.heads)

    @cached_property
    def heads(self) -> Mapping[str, Head]:
        """What lies above each layer, read from one forward pass of two artificial samples."""
        try:
            return find_heads(self.model.module, self._example, self.layers, self.model.reading)
        except RuntimeError:  # an operation of the network has no gradients: nothing is known of what lies above
            return {}

    @property
    def found(self) -> Mapping[str, LayerInfo]:
        """Every layer, as a forward pass of two artificial samples found it."""
        return self._survey[0]

    def survey(self, x: Samples) -> Mapping[str, LayerInfo]:
        """Every layer, as a forward pass of these samples in one batch finds it."""
        found, _ = survey(self.model.module, self.model.inputs(x.data), len(x))
        return {name: self._named(name, info) for name, info in found.items()}

    @property
    def artificial(self) -> Samples:
        """The two artificial samples by which the layers were found."""
        return Samples(self.modality, self._survey[2], ("artificial/0", "artificial/1"))

    @property
    def batch_size(self) -> int:
        """Samples in each forward pass; can be set."""
        return self.model.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.model.batch_size = size

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) pre-softmax scores, float32 on the CPU; raises `XcoreError` if any is NaN."""
        logits = self.model.logits(x)
        check_width(logits, self.classes)
        return logits

    def open(self, layer: str) -> TorchProbe:
        """The probe at a layer; raises `UsageError` if there is no such layer or it cannot be opened."""
        if layer in self._probes:
            return self._probes[layer]
        if self.closed:
            hint = "pass the module that it was made from, or use a method that needs logits only, such as eac"
            raise NotApplicable(self.closed, hint)
        modules = [name for name, _ in self.model.module.named_modules() if name]
        if not layer and not self.layers:
            what = type(self.model.module).__name__
            raise NotApplicable(f"{what} has no layer that can be opened", "use a method that needs none, such as eac")
        if layer not in modules:
            raise unknown("layer", layer, modules)
        info = self.found[layer]
        hint = f"layers of this classifier: {', '.join(self.layers[-6:])}"
        if info.calls != 1:
            often = f"called {info.calls} times in a forward pass" if info.calls else "not called in evaluation mode"
            raise UsageError(f"layer {layer!r} is {often}", hint)
        if info.unclear:
            orders = ("NCHW", "NHWC") if len(info.shape or ()) == 4 else ("NTC", "NCT")
            raise UsageError(
                f"layer {layer!r} gives {info.shape}, and nothing in the network shows which axis holds the channels",
                f"say it: xcore.open(model, layouts={{{layer!r}: {orders[0]!r}}}), or {orders[1]!r}",
            )
        if info.layout is None:
            what = f"gives shape {info.shape}" if info.shape else "returns no single tensor"
            raise UsageError(f"layer {layer!r} {what}: a probe needs (n, C), (n, C, H, W) or (n, T, C)", hint)
        known = useful_layers(self.model.module, self.found)
        probe = TorchProbe(self.model, layer, info=info, known=known, stand_in=lambda: self._stand_in(layer))
        self._probes[layer] = probe  # cached because tracing the graph above the layer takes time
        return probe

    def _stand_in(self, layer: str) -> Any:
        """An input of the module that may stand in for any other above a layer; None if none may.

        It may where the picture is all that the module is given: a text comes with a mask of its own.
        """
        if len(tensors_in(self._example)) != 1 or self.modality == "text":
            return None
        head = find_heads(self.model.module, self._example, [layer], self.model.reading).get(layer)
        return self._example if head is not None and head.alone else None

    @property
    def _example(self) -> Any:
        """Input of the module for two artificial samples."""
        return self._survey[1]

    @cached_property
    def _survey(self) -> tuple[dict[str, LayerInfo], Any, Any]:
        """Every layer, the input of the module that found it, and its samples: of the first size that it takes."""
        failures: list[CannotRun | WrongSize] = []
        with torch.random.fork_rng(devices=[]):  # a network that draws at random takes nothing from the user's numbers
            for data in self._examples():
                try:
                    args = self.model.inputs(data)
                    first = self.model.try_out(args, len(data))
                    with self.model.told(args):
                        found, logits = survey(self.model.module, args, len(data), self.model.reading)
                except (CannotRun, WrongSize) as error:
                    failures.append(error)
                    continue
                if logits is not None:
                    check_width(logits, self.classes)
                    self._behaves = depends_on(self.model, args, first, logits)
                return {name: self._named(name, info) for name, info in found.items()}, args, data
        raise no_input(type(self.model.module).__name__, self.modality, self._input_size, failures) from failures[0]

    def _named(self, name: str, info: LayerInfo) -> LayerInfo:
        """A layer with the order of axes that the user gave for it, if any."""
        order = self._layouts.get(name)
        if order is None:
            return info
        if info.shape is None or len(info.shape) != len(order):
            raise UsageError(f"layer {name!r} gives shape {info.shape}, which is not {order}", "correct layouts=")
        layout, turned = AXES[order]
        last, first = turned and layout == "NCHW", turned and layout == "NTC"
        return replace(info, layout=layout, last=last, first=first, unclear=False)

    def _examples(self) -> Iterator[Any]:
        """Two samples that differ, in each of the sizes to try."""
        if self.modality == "text":
            yield ("a text", "another text")
            return
        size = self._input_size
        for pair in sizes_to_try(self.model.module) if size is None else (size,):
            height, width = (pair, pair) if isinstance(pair, int) else pair
            yield artificial_pictures(height, width).to(self.model.device)


def no_input(
    name: str, modality: Modality, size: int | tuple[int, int] | None, failures: Sequence[CannotRun | WrongSize]
) -> UsageError:
    """The error for a module that takes none of the samples that were tried, with its own reason."""
    reasons = [error.reason for error in failures]
    if modality == "text":
        return UsageError(f"{name} takes no text: {reasons[0]}", "check its preprocessing")
    if size is not None:
        shown = "{} x {}".format(*((size, size) if isinstance(size, int) else size))
        return UsageError(
            f"{name} takes no picture of {shown}: {reasons[0]}", "correct input_size=... or preprocess=..."
        )
    if len(set(reasons)) == 1 and len(reasons) > 1 and isinstance(failures[0], CannotRun):
        hint = "call it on images (n, 3, H, W) yourself to see where, or prepare them: preprocess=..."
        return UsageError(f"{name} fails on pictures of any size: {reasons[0]}", hint)
    return UsageError(f"{name} takes no picture of a common size: {reasons[0]}", "pass input_size=...")


class FunctionClassifier:
    """A Python function as a classifier without activations and gradients.

    Parameters
    ----------
    function
        Takes images (n, 3, H, W), float32 in [0, 1] (or a tuple of strings) and returns scores (n, classes), as an
        array or a tensor.
    classes
        Names of the classes, in the order of the scores.
    modality
        "image" or "text".
    batch_size
        Samples per call.
    cache_mb
        Size of the cache, in MB.

    Raises
    ------
    UsageError
        There are no class names, or a mapping of them has other indices than 0, 1, 2 and so on.
    """

    can: frozenset[str] = frozenset()
    layers: tuple[str, ...] = ()
    default_layer: str = ""

    def __init__(
        self,
        function: Callable[[Any], Any],
        classes: ClassList,
        *,
        modality: Modality = "image",
        batch_size: int = 64,
        cache_mb: int = 64,
    ) -> None:
        self.modality: Modality = modality
        self.classes: tuple[str, ...] = checked_classes(classes)
        self.aliases = _aliases(self.classes, classes, None)
        self.scores: Scores = "exclusive"
        """"probabilities" as long as all scores so far are: none is negative and every row adds up to 1."""
        self._normal = True
        self._function = function
        self.batch_size = batch_size
        self._cache = TensorCache(cache_mb * 2**20)

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) scores as the function returns them, float32 on the CPU; raises `XcoreError` if any is NaN."""
        if len(x) == 0:
            raise UsageError("no samples to classify")
        kept = self._cache.get(x.digest)
        if kept is None:
            kept = torch.cat([self._call(x.data[i : i + self.batch_size]) for i in range(0, len(x), self.batch_size)])
            check_numbers(kept, x, "scores")
            normal = bool((kept >= 0).all()) and bool(((kept.sum(1) - 1).abs() < 1e-3).all())
            self._normal = self._normal and normal and kept.shape[1] > 1
            self.scores = "probabilities" if self._normal else "exclusive"
            self._cache.put(x.digest, kept)
        return kept

    def open(self, layer: str) -> TorchProbe:
        """Always raises `NotApplicable`: a function has no layers."""
        raise NotApplicable(
            "this classifier is a Python function: it has no layers, activations or gradients",
            "use a method that needs none, or a classifier over a torch module",
        )

    def _call(self, data: Any) -> Tensor:
        data = data.clone() if isinstance(data, Tensor) else data
        with torch.no_grad():
            scores = torch.as_tensor(self._function(data)).float().cpu()
        if scores.ndim != 2 or len(scores) != len(data):
            name = getattr(self._function, "__name__", "the function")
            raise UsageError(f"{name} must return ({len(data)}, classes), got {tuple(scores.shape)}")
        check_width(scores, self.classes)
        return scores


def as_classifier(
    model: Any, class_names: ClassList = (), *, like: Samples | None = None, **settings: Any
) -> Classifier:
    """Make a classifier of a `torch.nn.Module`; a `Classifier` is returned as it is.

    Parameters
    ----------
    model
        The module or the classifier.
    class_names
        The names of the module's outputs. Without them, those in its ``config.id2label`` are taken, or ``class 0`` and
        so on.
    like
        Images such as the module takes, by which its outputs are counted where they have no names; None = artificial
        ones of common sizes.
    **settings
        Further arguments of `TorchClassifier`.

    Raises
    ------
    UsageError
        `model` is neither; or a classifier, which has names, is given other ones.
    """
    if isinstance(model, Classifier) and not isinstance(model, nn.Module):
        if class_names and class_list(class_names) != tuple(model.classes):
            raise UsageError("this classifier has its own class names", "leave class_names out")
        return model
    module = checked_module(model)
    names = class_names or getattr(getattr(plain(module), "config", None), "id2label", None)
    if names:
        return TorchClassifier(module, names, **settings)
    count = max(2, _outputs(module, like, settings))
    made = TorchClassifier(module, [f"class {i}" for i in range(count)], **settings)
    made.naming = "name the outputs of the network: class_names=[...]"
    return made


def _outputs(module: nn.Module, like: Samples | None, settings: Mapping[str, Any]) -> int:
    """How many logits a module gives; raises `UsageError` with its own reason if it reads no picture."""
    if settings.get("modality") == "text":
        raise UsageError("a module that reads texts needs names for its outputs", "pass class_names=[...]")
    framing, name = settings.get("framing"), type(module).__name__
    reading = Reading(wanted=settings.get("output"))
    model = TorchModel(module, settings.get("preprocess"), device=settings.get("device"), reading=reading)
    sizes = [framing.size] if framing is not None else sizes_to_try(model.module)
    pictures = [like.images[:1]] if like is not None else (artificial_pictures(*size)[:1] for size in sizes)
    failures: list[CannotRun | WrongSize] = []
    for images in pictures:
        try:
            return model.logits(Samples("image", images, ("image/0",))).shape[1]
        except (CannotRun, WrongSize) as error:
            failures.append(error)
    reason = failures[0].reason
    raise UsageError(
        f"the outputs of {name} cannot be counted: {reason}", "name them: class_names=[...]"
    ) from failures[0]


def checked_classes(classes: ClassList) -> tuple[str, ...]:
    """Class names as a tuple in which no two are alike (see `xcore.inputs.class_names.numbered`).

    Raises
    ------
    UsageError
        There are none, or a mapping has other indices than 0, 1, 2 and so on.
    """
    names = numbered(class_list(classes))
    if not names:
        raise UsageError("a classifier needs the names of its classes", "pass one for each of its logits")
    return names


def _aliases(classes: Sequence[str], given: ClassList, known: Mapping[str, Sequence[str]] | None) -> Aliases:
    """Other names of the classes: the known ones, and the name without its number where several have the same."""
    plain = {c: (name,) for c, name in zip(classes, class_list(given), strict=True) if c != name}
    return {**plain, **(known or {})}


def check_width(logits: Tensor, classes: Sequence[str]) -> None:
    """Raise `UsageError` if there are not as many logits as class names."""
    if logits.shape[1] != len(classes):
        hint = "give one name for each logit, in their order"
        raise UsageError(f"the model gives {logits.shape[1]} logits but there are {len(classes)} class names", hint)
