"""The logits in what a module returns, and what kind of scores they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from xcore.base.errors import UsageError, unknown

Scores = Literal["exclusive", "independent", "probabilities"]
"""What the numbers of a classifier are: logits of classes of which each sample has one (softmax), logits of classes of
which it may have several or none (sigmoid), or probabilities."""

_WITHOUT_EFFECT = (
    "View",
    "UnsafeView",
    "Squeeze",
    "Unsqueeze",
    "Clone",
    "ToCopy",
    "Alias",
    "Reshape",
    "Select",
    "Slice",
)
_ENDINGS = {"SoftmaxBackward": "softmax", "LogSoftmaxBackward": "log-softmax", "SigmoidBackward": "sigmoid"}


class Reading:
    """Finds the logits (n, classes) in what a module returns: always at the place where they were found first.

    They are the output itself, its field, entry or attribute ``logits``, its only tensor of the shape (n, classes), or
    the only one with as many columns as there are classes. Axes of length 1 after the second are taken off, and (n,) is
    one logit. Of a module with one logit z and two classes, the logits are -z and z.

    Parameters
    ----------
    classes
        Names of the classes; empty = they are not known, and one logit is left alone.
    wanted
        Name or index of the tensor in the output; None = found as above.
    positive
        Index of the class whose logit a module of one logit gives.
    """

    def __init__(self, classes: Sequence[str] = (), *, wanted: str | int | None = None, positive: int = 1) -> None:
        self.classes, self.positive = classes, positive
        self.one_logit = False
        self.ending = ""
        """"softmax", "log-softmax" or "sigmoid" if it is what the module does last, else empty."""
        self.chosen = ""
        """Which tensor the logits are, where the output has several; else empty."""
        self._place = wanted
        self._found = wanted is not None

    def __call__(self, output: Any, n: int | None = None) -> Tensor | None:
        """The logits in the output for n samples; None if there are none."""
        raw = self._raw(output, n)
        if raw is None or raw.shape[1] != 1 or len(self.classes) != 2:
            return raw
        self.one_logit = True
        other = 1 - raw if self.ending == "sigmoid" else -raw
        return torch.cat([other, raw] if self.positive == 1 else [raw, other], 1)

    def look(self, output: Any, n: int) -> None:
        """See in a first output, whose graph autograd recorded, what the module does last."""
        with torch.enable_grad():  # or the axes that are taken off would end the graph
            self.ending = ending_of(self._raw(output, n))

    def required(self, output: Any, n: int | None, name: str) -> Tensor:
        """The same; raises `UsageError` with the name of the module and what it returns, if there are none."""
        logits = self(output, n)
        if logits is not None:
            return logits
        tensors = _tensors(output)
        what = ", ".join(f"{key}: {tuple(t.shape)}" for key, t in tensors.items())
        if isinstance(output, Tensor):
            kind = "" if output.is_floating_point() else f" of {str(output.dtype).removeprefix('torch.')}"
            got, hint = f"shape {tuple(output.shape)}{kind}", "wrap it in a module that returns them"
        elif len([t for t in tensors.values() if _shaped(t, n) is not None]) > 1:
            got, hint = f"several tensors ({what})", "say which one: xcore.open(model, output=NAME or INDEX)"
        else:
            got = type(output).__name__ + (f" ({what})" if what else "")
            hint = "wrap it in a module that returns them"
        raise UsageError(f"{name} must return logits of shape (n, classes), got {got}", hint)

    def _raw(self, output: Any, n: int | None) -> Tensor | None:
        if isinstance(output, Tensor):
            return _shaped(output, n)
        tensors = _tensors(output)
        if not self._found:
            place = self._find(tensors, n)
            if place is None:
                return None
            self._place, self._found = place, True
        entry = _at(output, self._place)
        if entry is None:
            raise unknown("tensor in what the network returns:", str(self._place), map(str, tensors))
        return _shaped(entry, n)

    def _find(self, tensors: Mapping[str | int, Tensor], n: int | None) -> str | int | None:
        if "logits" in tensors:
            return "logits"
        shaped = {key: t for key, tensor in tensors.items() if (t := _shaped(tensor, n)) is not None}
        widths = {len(self.classes), 1} if len(self.classes) == 2 else {len(self.classes)}
        fitting = [key for key, tensor in shaped.items() if tensor.shape[1] in widths]
        keys = list(shaped) if len(shaped) == 1 else fitting
        if len(keys) != 1:
            return None
        if len(tensors) > 1:
            self.chosen = f"{keys[0]!r}, of {len(tensors)} tensors"
        return keys[0]


def _tensors(output: Any) -> dict[str | int, Tensor]:
    """The tensors in what a module returns, by name or index."""
    entries: Mapping[Any, Any] = {}
    if isinstance(output, Mapping):
        entries = output
    elif hasattr(output, "_fields"):  # a named tuple
        entries = dict(zip(output._fields, output, strict=True))
    elif isinstance(output, tuple | list):
        entries = dict(enumerate(output))
    elif dataclasses.is_dataclass(output) or hasattr(output, "__dict__"):
        entries = vars(output)
    return {key: entry for key, entry in entries.items() if isinstance(entry, Tensor)}


def _at(output: Any, place: str | int | None) -> Tensor | None:
    """The tensor at a place of what a module returns; None if there is none."""
    if isinstance(output, Mapping):
        found = output.get(place)
    elif isinstance(place, int):
        found = output[place] if isinstance(output, tuple | list) and -len(output) <= place < len(output) else None
    else:
        found = getattr(output, str(place), None)
    return found if isinstance(found, Tensor) else None


def _shaped(tensor: Tensor, n: int | None) -> Tensor | None:
    """A tensor as logits (n, classes); None if it has another shape or holds no real numbers."""
    if not tensor.is_floating_point():
        return None
    if n == 1 and tensor.ndim < 2:  # a module that takes away all axes of length 1 takes that of the batch, too
        tensor = tensor.reshape(1, -1)
    if tensor.ndim == 1:
        tensor = tensor[:, None]
    while tensor.ndim > 2 and tensor.shape[-1] == 1:
        tensor = tensor.squeeze(-1)
    return tensor if tensor.ndim == 2 and n in (None, len(tensor)) else None


def ending_of(logits: Tensor | None) -> str:
    """What made these numbers last, "softmax", "log-softmax" or "sigmoid", read from autograd's graph; else empty."""
    node: Any = None if logits is None else logits.grad_fn
    while node is not None and type(node).__name__.startswith(_WITHOUT_EFFECT):
        node = next((below for below, _ in node.next_functions), None)
    return _ENDINGS.get(type(node).__name__.rstrip("0123456789"), "")


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two results of one network are the same but for rounding in their type and by its kernels."""
    share = 3e-2 if b.dtype in (torch.float16, torch.bfloat16) else 1e-3
    a, b = a.detach().double().nan_to_num(), b.detach().double().nan_to_num()
    finite = b[b.abs() < 1e30]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    return bool(((a - b).abs() <= share * scale + 1e-5).all())


def scores_of(classifier: Any) -> Scores:
    """What the logits of a classifier are: its attribute `scores`, else those of classes that exclude one another."""
    scores: Scores = getattr(classifier, "scores", "exclusive")
    return scores


def probabilities(logits: Tensor, scores: Scores) -> Tensor:
    """The probabilities (n, classes) that logits mean, by what they are: their softmax, sigmoid, or themselves."""
    if scores == "probabilities":
        return logits
    return logits.sigmoid() if scores == "independent" else logits.softmax(1)
