"""Ready-made classifiers: one for a torch module, and one for a Python function, which gives no gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xcore.base.errors import NotApplicable, UsageError, unknown
from xcore.contract.protocols import Classifier
from xcore.contract.samples import Modality, Samples
from xcore.inputs.class_names import Aliases, class_list, numbered
from xcore.inputs.images import Framing
from xcore.models.graph import LayerInfo, survey, tensors_in, useful_layers
from xcore.models.heads import Head, default_layer, find_heads
from xcore.models.probes import TorchProbe
from xcore.models.torch_model import Preprocess, TensorCache, TorchModel, check_numbers

ClassList = Sequence[str] | Mapping[Any, Any]
"""Names in the order of the logits, or a mapping index -> name or name -> index."""

_SIZES = (224, 64, 32, 28, 96, 128, 256, 384, 299, 16, 8)
"""Sides of the square images that are tried on a module if its input size is not given, in pixels, in this order."""


class TorchClassifier:
    """A `torch.nn.Module` with class names as a classifier (protocol `xcore.contract.protocols.Classifier`).

    The module runs in evaluation mode, without gradients to its weights, and is left as it was found. Results are
    float32 on the CPU. They are cached by the content of the samples.

    Parameters
    ----------
    module
        Returns logits (n, classes), or an object with the field ``logits``.
    classes
        Names of the classes, in the order of the logits, or a mapping index -> name. A name that appears several times
        gets its index added.
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

    Raises
    ------
    UsageError
        There are no class names, a mapping of them has other indices than 0, 1, 2 and so on, or a layer does not exist.
    """

    can: frozenset[str] = frozenset({"activations", "gradients"})
    naming: str = ""
    """If the names of the classes are only numbered: how a user can name them (for the hint of an unknown class)."""

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
    ) -> None:
        self.modality: Modality = modality
        self.classes: tuple[str, ...] = checked_classes(classes)
        cache = TensorCache(cache_mb * 2**20)
        self.model = TorchModel(module, preprocess, device=device, batch_size=batch_size, cache=cache)
        self.framing = framing
        self.aliases = _aliases(self.classes, classes, aliases)
        self._input_size = input_size if input_size is not None or framing is None else framing.size
        self._probes: dict[str, TorchProbe] = {}
        if layers is not None:
            self.layers = tuple(layers)
        if default_layer is not None:
            self.default_layer = default_layer
        modules = dict(self.model.module.named_modules())
        for name in (*(layers or ()), *([default_layer] if default_layer is not None else [])):
            if name not in modules:
                raise unknown("layer", name, [n for n in modules if n])

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The layers that can be explained, in the order in which they finish in a forward pass."""
        return useful_layers(self.model.module, self.found)

    @cached_property
    def default_layer(self) -> str:
        """The layer to explain unless the user names another."""
        return default_layer(self.model.module, self.found, self.layers, self.heads)

    @cached_property
    def heads(self) -> Mapping[str, Head]:
        """What lies above each layer, read from one forward pass of two artificial samples."""
        try:
            return find_heads(self.model.module, self._example, self.layers)
        except RuntimeError:  # an operation of the network has no gradients: nothing is known of what lies above
            return {}

    @property
    def found(self) -> Mapping[str, LayerInfo]:
        """Every layer, as a forward pass of two artificial samples found it."""
        return self._survey[0]

    def survey(self, x: Samples) -> Mapping[str, LayerInfo]:
        """Every layer, as a forward pass of these samples in one batch finds it."""
        return survey(self.model.module, self.model.inputs(x.data), len(x))[0]

    @property
    def artificial(self) -> Samples:
        """The two artificial samples by which the layers were found."""
        return Samples(self.modality, self._survey[2], ("artificial/0", "artificial/1"))

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) pre-softmax scores, float32 on the CPU; raises `XcoreError` if any is NaN."""
        logits = self.model.logits(x)
        check_width(logits, self.classes)
        return logits

    def open(self, layer: str) -> TorchProbe:
        """The probe at a layer; raises `UsageError` if there is no such layer or it cannot be opened."""
        if layer in self._probes:
            return self._probes[layer]
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
        head = find_heads(self.model.module, self._example, [layer]).get(layer)
        return self._example if head is not None and head.alone else None

    @property
    def _example(self) -> Any:
        """Input of the module for two artificial samples."""
        return self._survey[1]

    @cached_property
    def _survey(self) -> tuple[dict[str, LayerInfo], Any, Any]:
        """Every layer, the input of the module that found it, and its samples: of the first size that it takes."""
        failures = []
        for data in self._examples():
            try:
                args = self.model.inputs(data)
                found, logits = survey(self.model.module, args, len(data))
            except (RuntimeError, ValueError, AssertionError) as error:  # what modules raise for a wrong input size
                failures.append(error)
                continue
            if logits is not None:
                check_width(logits, self.classes)
            return found, args, data
        name = type(self.model.module).__name__
        if self.modality == "text":
            raise UsageError(f"{name} takes no text: {failures[0]}", "check its preprocessing") from None
        raise UsageError(f"{name} takes no picture of a common size: {failures[0]}", "pass input_size=...") from None

    def _examples(self) -> list[Any]:
        """Two samples that differ, in each of the sizes to try."""
        if self.modality == "text":
            return [("a text", "another text")]
        size = self._input_size
        sizes = _SIZES if size is None else (size,)
        shapes = [(s, s) if isinstance(s, int) else s for s in sizes]
        return [artificial_pictures(*shape).to(self.model.device) for shape in shapes]


def artificial_pictures(height: int, width: int) -> Tensor:
    """Two pictures (2, 3, height, width) in [0, 1] of coloured clouds, always the same ones."""
    generator = torch.Generator().manual_seed(0)  # a local one, so that the global random state stays as it is
    coarse = torch.rand(2, 3, 4, 4, generator=generator)
    clouds = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return (clouds + 0.2 * torch.rand(clouds.shape, generator=generator) - 0.1).clamp(0, 1)


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
        self._function = function
        self._batch_size = batch_size
        self._cache = TensorCache(cache_mb * 2**20)

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) scores as the function returns them, float32 on the CPU; raises `XcoreError` if any is NaN."""
        if len(x) == 0:
            raise UsageError("no samples to classify")
        kept = self._cache.get(x.digest)
        if kept is None:
            kept = torch.cat([self._call(x.data[i : i + self._batch_size]) for i in range(0, len(x), self._batch_size)])
            check_numbers(kept, x, "scores")
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
    if isinstance(model, nn.Module):
        names = class_names or getattr(getattr(model, "config", None), "id2label", None)
        if not names:
            names = [f"class {i}" for i in range(_outputs(model, like, settings))]
        return TorchClassifier(model, names, **settings)
    if isinstance(model, Classifier):
        if class_names and class_list(class_names) != tuple(model.classes):
            raise UsageError("this classifier has its own class names", "leave class_names out")
        return model
    raise UsageError(f"{type(model).__name__} is no classifier", "pass a torch.nn.Module or an xcore Classifier")


def _outputs(module: nn.Module, like: Samples | None, settings: Mapping[str, Any]) -> int:
    """How many logits a module gives; raises `UsageError` with its own reason if it reads no picture."""
    if settings.get("modality") == "text":
        raise UsageError("a module that reads texts needs names for its outputs", "pass class_names=[...]")
    framing = settings.get("framing")
    sizes = [framing.size] if framing is not None else [(side, side) for side in _SIZES]
    pictures = [like.images[:1]] if like is not None else (artificial_pictures(*size)[:1] for size in sizes)
    model = TorchModel(module, settings.get("preprocess"), device=settings.get("device"))
    reason: Exception | None = None
    for images in pictures:
        try:
            return model.logits(Samples("image", images, ("image/0",))).shape[1]
        except (RuntimeError, ValueError, AssertionError) as error:  # what modules raise for a wrong input size
            reason = reason or error
    name = type(module).__name__
    raise UsageError(f"the outputs of {name} cannot be counted: {reason}", "name them: class_names=[...]") from reason


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
