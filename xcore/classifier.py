"""Ready-made classifiers: over a torch module, and over a Python function that gives no gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xcore.errors import NotApplicable, UsageError, unknown
from xcore.graph import LayerInfo, main_layer, survey, useful_layers
from xcore.probe import TorchProbe
from xcore.samples import Kind, Samples
from xcore.torchmodel import Preprocess, TensorCache, TorchModel, check_numbers

_SIZES = (224, 64, 32, 28, 96, 128, 256, 384, 299, 16, 8)
"""Sides of the square pictures that are tried on a module whose input size nobody named."""


class TorchClassifier:
    """A `torch.nn.Module` with class names as a classifier (protocol `xcore.protocols.Classifier`).

    The module is run in evaluation mode, without gradients to its weights, and left as it was found. Results are
    float32 on the CPU and are kept by the content of the samples.

    Parameters
    ----------
    module
        Returns logits (n, classes), or an object with the field ``logits``.
    classes
        Names of the classes, in the order of the logits.
    preprocess
        Images (n, 3, H, W) in [0, 1] on the model's device (or a tuple of strings) -> the module's input: a tensor, a
        tuple of arguments or a mapping of keywords. None = as it is.
    layers
        Layers to list; None = all that give one tensor of rank 2 to 4 and are called once.
    default_layer
        None = the result of the last stage but one, the last block of a transformer, or the last layer but the
        logits (see `xcore.graph.main_layer`).
    kind
        "image" or "text".
    device
        None = where the module is.
    batch_size
        Samples per forward pass.
    input_size
        Side of the square pictures, or (height, width), that the module takes; None = sizes in common use are tried.
    cache_mb
        Bound of what is kept, in MB.
    """

    can: frozenset[str] = frozenset({"activations", "gradients"})
    naming: str = ""
    """How a user names the classes, where nobody did and their names are made up; see `Workbench.check`."""

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str],
        *,
        preprocess: Preprocess | None = None,
        layers: Sequence[str] | None = None,
        default_layer: str | None = None,
        kind: Kind = "image",
        device: str | torch.device | None = None,
        batch_size: int = 64,
        input_size: int | tuple[int, int] | None = None,
        cache_mb: int = 256,
    ) -> None:
        self.kind: Kind = kind
        self.classes: tuple[str, ...] = checked_classes(classes)
        cache = TensorCache(cache_mb * 2**20)
        self.model = TorchModel(module, preprocess, device=device, batch_size=batch_size, cache=cache)
        self._input_size = input_size
        self._probes: dict[str, TorchProbe] = {}
        if layers is not None:
            self.layers = tuple(layers)
        if default_layer is not None:
            self.default_layer = default_layer
        modules = dict(module.named_modules())
        for name in (*(layers or ()), *([default_layer] if default_layer is not None else [])):
            if name not in modules:
                raise unknown("layer", name, [n for n in modules if n])

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Useful layers, in the order in which they finish in a forward pass."""
        return useful_layers(self.model.module, self._found)

    @cached_property
    def default_layer(self) -> str:
        """The layer to explain at if nobody names one."""
        return main_layer(self.model.module, self._found, self.layers)

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) pre-softmax scores, float32 on the CPU; raises `XcoreError` if any is NaN."""
        logits = self.model.logits(x)
        check_width(logits, self.classes)
        return logits

    def open(self, layer: str) -> TorchProbe:
        """The probe at a layer; raises `UsageError` for one that is not there or cannot be opened."""
        if layer in self._probes:
            return self._probes[layer]
        modules = [name for name, _ in self.model.module.named_modules() if name]
        if layer not in modules:
            raise unknown("layer", layer, modules)
        info = self._found[layer]
        hint = f"layers of this classifier: {', '.join(self.layers[-6:])}"
        if info.calls != 1:
            often = f"called {info.calls} times in a forward pass" if info.calls else "not called in evaluation mode"
            raise UsageError(f"layer {layer!r} is {often}", hint)
        if info.layout is None:
            what = f"gives shape {info.shape}" if info.shape else "returns no single tensor"
            raise UsageError(f"layer {layer!r} {what}: a probe needs (n, C), (n, C, H, W) or (n, T, C)", hint)
        known = useful_layers(self.model.module, self._found)
        probe = TorchProbe(self.model, layer, layout=info.layout, channels_last=info.last, known=known)
        self._probes[layer] = probe  # it keeps the cut of the graph
        return probe

    @cached_property
    def _found(self) -> dict[str, LayerInfo]:
        """Every layer as one forward pass of two made-up samples saw it."""
        failures = []
        for data in self._examples():
            try:
                found, logits = survey(self.model.module, self.model.inputs(data), len(data))
            except (RuntimeError, ValueError, AssertionError) as error:  # how modules refuse a wrong input size
                failures.append(error)
                continue
            if logits is not None:
                check_width(logits, self.classes)
            return found
        name = type(self.model.module).__name__
        if self.kind == "text":
            raise UsageError(f"{name} takes no text: {failures[0]}", "check its preprocessing") from None
        raise UsageError(f"{name} takes no picture of a common size: {failures[0]}", "name its input_size") from None

    def _examples(self) -> list[Any]:
        if self.kind == "text":
            return [("a text", "another text")]
        size = self._input_size
        sizes = _SIZES if size is None else (size,)
        shapes = [(s, s) if isinstance(s, int) else s for s in sizes]
        # A ramp, not noise: the global random state stays as it is.
        ramps = [torch.linspace(0, 1, 2 * 3 * h * w).reshape(2, 3, h, w) for h, w in shapes]
        return [ramp.to(self.model.device) for ramp in ramps]


class FunctionClassifier:
    """A Python function as a classifier without activations and gradients.

    Parameters
    ----------
    function
        Images (n, 3, H, W), float32 in [0, 1] (or a tuple of strings) -> (n, classes) scores, array or tensor.
    classes
        Names of the classes, in the order of the scores.
    kind
        "image" or "text".
    batch_size
        Samples per call.
    cache_mb
        Bound of what is kept, in MB.
    """

    can: frozenset[str] = frozenset()
    layers: tuple[str, ...] = ()
    default_layer: str = ""

    def __init__(
        self,
        function: Callable[[Any], Any],
        classes: Sequence[str],
        *,
        kind: Kind = "image",
        batch_size: int = 64,
        cache_mb: int = 64,
    ) -> None:
        self.kind: Kind = kind
        self.classes: tuple[str, ...] = checked_classes(classes)
        self._function = function
        self._batch_size = batch_size
        self._cache = TensorCache(cache_mb * 2**20)

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) scores as the function gives them, float32 on the CPU."""
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


def checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names as a tuple; raises `UsageError` if there are none or one appears twice."""
    names = tuple(str(c) for c in classes)
    if not names:
        raise UsageError("a classifier needs the names of its classes")
    twice = sorted({c for c in names if names.count(c) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise UsageError(f"class name {twice[0]!r} is given twice")
    return names


def check_width(logits: Tensor, classes: Sequence[str]) -> None:
    """Raise `UsageError` if there are not as many logits as class names."""
    if logits.shape[1] != len(classes):
        raise UsageError(f"the model gives {logits.shape[1]} logits but there are {len(classes)} class names")
