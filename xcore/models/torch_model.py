"""A torch module with its preprocessing, which runs in batches and frozen, and caches its results by content."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from cachetools import LRUCache
from torch import Tensor, nn

from xcore.base.errors import UsageError, XcoreError
from xcore.contract.samples import Samples
from xcore.models.graph import frozen, map_tensors, run, tensors_in
from xcore.models.intake import Intake, find_intake
from xcore.models.modules import checked_module, plain, weights_state
from xcore.models.outputs import Reading

Preprocess = Callable[[Any], Any]
"""Turns `Samples.data` of a batch (images on the model's device, or a tuple of strings) into the module's input: a
tensor, a tuple of positional arguments or a mapping of keyword arguments."""


class TensorCache:
    """Keeps tensors by key, at most `limit` bytes of them: the least recently used go first.

    It keeps copies on the CPU and gives copies, so that nobody can change what the next caller gets.
    """

    def __init__(self, limit: int = 256 * 2**20) -> None:
        self._kept: LRUCache[Hashable, Tensor] = LRUCache(limit, getsizeof=lambda tensor: tensor.nbytes)

    def get(self, key: Hashable) -> Tensor | None:
        """A copy of the tensor of this key, or None."""
        kept = self._kept.get(key)
        return None if kept is None else kept.clone()

    def put(self, key: Hashable, value: Tensor) -> None:
        """Keep a copy of the tensor; one that is larger than the limit is not kept."""
        if value.nbytes <= self._kept.maxsize:
            self._kept[key] = value.detach().to("cpu", copy=True)


class CannotRun(UsageError):
    """The module raised an error for its input, which is the cause of this one and its `reason`."""

    def __init__(self, module: str, shapes: str, reason: str, hint: str) -> None:
        self.reason = reason
        super().__init__(f"{module} fails on an input of shape {shapes}: {reason}", hint)


class TorchModel:
    """A module with its preprocessing. It runs in batches, is frozen while it runs, and shares a cache with its probes.

    Inputs get the type of the module's first layer, and its channels (see `xcore.models.intake`).

    Parameters
    ----------
    module
        Returns logits (n, classes), or an object that holds them (see `xcore.models.outputs.Reading`). What
        `torch.compile` or `DataParallel` made is run as the plain network (see `xcore.models.modules.plain`).
    preprocess
        Turns `Samples.data` into the module's input; None = the data is the input.
    device
        The device to run on, to which the module is moved; None = the device of its weights.
    batch_size
        Samples per forward pass.
    cache
        Keeps results; None = a new cache of 256 MB.
    reading
        Finds the logits in what the module returns.

    Raises
    ------
    UsageError
        `batch_size` is less than 1, the weights of the module are not there, or torch cannot use the device.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocess: Preprocess | None = None,
        *,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        cache: TensorCache | None = None,
        reading: Reading | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        self.module = plain(checked_module(module))
        weight = next(self.module.parameters(), None)
        own = weight.device if weight is not None else torch.device("cpu")
        self.device = own if device is None else _device(device)
        if device is not None:
            self.module = _moved(self.module, self.device)
        self.preprocess = preprocess
        self.one_input = preprocess is None
        """Whether the module is known to be called with one argument."""
        self.batch_size = batch_size
        self.cache = cache if cache is not None else TensorCache()
        self.reading = reading if reading is not None else Reading()
        self.intake = Intake()
        """What the first layer reads, for pictures of the size that was seen last."""
        self._intakes: dict[tuple[int, ...], Intake] = {}
        self._tried = False

    @property
    def dtype(self) -> torch.dtype:
        """The type of the numbers that the first layer reads."""
        if self.intake.layer:
            weight = getattr(self.module.get_submodule(self.intake.layer), "weight", None)
            if isinstance(weight, Tensor) and weight.is_floating_point():
                return weight.dtype
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    def key(self, what: Hashable, x: Samples, weights: int | None = None) -> Hashable:
        """Key of a result in the cache: what it is, the content of the samples and that of the weights.

        Parameters
        ----------
        weights
            What `weights_state` gave for the module just before; None = it is asked.
        """
        return what, x.digests, weights_state(self.module) if weights is None else weights

    def inputs(self, data: Any) -> Any:
        """The module's input for a batch of `Samples.data`."""
        if isinstance(data, Tensor):
            data = data.to(self.device)
            if self.preprocess is not None or data.is_inference():
                data = data.clone()  # since preprocessing may work in place, as Normalize(inplace=True) does
        made = data if self.preprocess is None else self.preprocess(data)
        if self.preprocess is not None:
            self.one_input = isinstance(made, Tensor)
        if not isinstance(data, Tensor):
            return made
        shape = tuple(data.shape[1:])
        if shape not in self._intakes:
            self._intakes[shape] = find_intake(self.module, made)
        self.intake = self._intakes[shape]
        fitted = self.intake(made, self.dtype)
        if isinstance(fitted, Tensor) and self._keyword:
            fitted = {self._keyword: fitted}
        return fitted

    @cached_property
    def _keyword(self) -> str:
        """The argument that takes pictures in networks of transformers, where it is not the first; else empty."""
        try:
            arguments = list(inspect.signature(self.module.forward).parameters)
        except (TypeError, ValueError):  # scripted code has no signature
            return ""
        return "pixel_values" if "pixel_values" in arguments[1:] else ""

    def batches(self, x: Samples) -> Iterator[slice]:
        """The rows of each batch; raises `UsageError` if there are no samples."""
        if len(x) == 0:
            raise UsageError("no samples to classify")
        for start in range(0, len(x), self.batch_size):
            yield slice(start, start + self.batch_size)

    def forward(self, data: Any) -> Tensor:
        """Logits of one batch (n, classes), in the gradient mode of the caller, who also freezes the module.

        Raises
        ------
        CannotRun
            The module cannot be run on these samples, for the reason that it gives.
        """
        return self.run(self.inputs(data), len(data))

    def run(self, args: Any, n: int) -> Tensor:
        """Logits (n, classes) of an input of the module; raises as `forward` does."""
        self.try_out(args, n)
        with self.told(args):
            output = run(self.module, args)
        return self.checked(output, n)

    def try_out(self, args: Any, n: int) -> Tensor | None:
        """Run the first samples of the first input, to see what the module returns and how it ends; gives the logits.

        Later inputs are not tried, and give None; raises as `forward` does.
        """
        if self._tried:
            return None
        rows = min(n, 2)
        few = map_tensors(lambda tensor: tensor[:rows] if tensor.ndim and len(tensor) == n else tensor, args)
        with self.told(few), frozen(self.module), torch.enable_grad():
            output = run(self.module, map_tensors(_watched, few))
        self.reading.look(output, rows)
        self._tried = True
        return self.checked(output, rows).detach()

    @contextmanager
    def told(self, args: Any) -> Iterator[None]:
        """Name the module and its input in the error that its code raises, whatever that is."""
        try:
            yield
        except (XcoreError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            shapes = " and ".join(str(tuple(t.shape)) for t in tensors_in(args)) or "its input"
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            if not isinstance(error, RuntimeError | ValueError | AssertionError) or not reason:
                reason = f"{type(error).__name__}: {reason}".removesuffix(": ")
            hint = "pass them as the network takes them"
            if reason.startswith("Guard failed") and ".size()[0]" in reason:
                hint = "it was exported for one size of batch: pass dynamic_shapes=({0: torch.export.Dim('n')},)"
            raise CannotRun(type(self.module).__name__, shapes, reason, hint) from error

    def checked(self, output: Any, n: int | None = None) -> Tensor:
        """The logits in the module's output for n samples; raises `UsageError` if there are none."""
        return self.reading.required(output, n, type(self.module).__name__)

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) float32 logits on the CPU, without gradients; raises `XcoreError` if any is NaN."""
        key = self.key("logits", x)
        kept = self.cache.get(key)
        if kept is None:
            with frozen(self.module), torch.no_grad():
                kept = torch.cat([self.forward(x.data[rows]).float().cpu() for rows in self.batches(x)])
            check_numbers(kept, x, "logits")
            self.cache.put(key, kept)
        return kept


def _device(given: str | torch.device) -> torch.device:
    try:
        return torch.device(given)
    except RuntimeError as error:
        raise UsageError(f"torch knows no device {given!r}", "pass 'cpu', 'cuda', 'cuda:1' or 'mps'") from error


def _moved(module: nn.Module, device: torch.device) -> nn.Module:
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {str(device)!r} cannot be used: {reason}", "choose another, e.g. 'cpu'") from error


def _watched(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor


def check_numbers(values: Tensor, x: Samples, what: str) -> None:
    """Raise `XcoreError` that names the first sample whose row holds a NaN, if there is one."""
    bad = values.flatten(1).isnan().any(1).nonzero().flatten().tolist()
    if bad:
        raise XcoreError(
            f"the classifier gives NaN {what} for {len(bad)} of {len(x)} samples, first {x.ids[bad[0]]!r}",
            "check its weights and preprocessing",
        )
