"""A torch module with its preprocessing, which runs in batches and frozen, and caches its results by content."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from cachetools import LRUCache
from torch import Tensor, nn

from xcore.base.errors import UsageError, XcoreError
from xcore.contract.samples import Samples
from xcore.models.graph import frozen, logits_of, plain, run

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


class TorchModel:
    """A module with its preprocessing. It runs in batches, is frozen while it runs, and shares a cache with its probes.

    Parameters
    ----------
    module
        Returns logits (n, classes), or an object with the field ``logits``. What `torch.compile` or `DataParallel` made
        is run as the plain network (see `xcore.models.graph.plain`).
    preprocess
        Turns `Samples.data` into the module's input; None = the data is the input.
    device
        The device to run on, to which the module is moved; None = the device of its weights.
    batch_size
        Samples per forward pass.
    cache
        Keeps results; None = a new cache of 256 MB.

    Raises
    ------
    UsageError
        `batch_size` is less than 1.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocess: Preprocess | None = None,
        *,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        cache: TensorCache | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        weight = next(module.parameters(), None)
        self.device = torch.device(device if device is not None else weight.device if weight is not None else "cpu")
        self.module = plain(module).to(self.device)
        self.dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        self.preprocess = preprocess
        self.one_input = preprocess is None
        """Whether the module is known to be called with one argument."""
        self.batch_size = batch_size
        self.cache = cache if cache is not None else TensorCache()

    def key(self, what: Hashable, x: Samples) -> Hashable:
        """Key of a result in the cache: what it is, the content of the samples and the state of the weights.

        Changes of weights in place (an optimiser's step, `load_state_dict`) change the key through version counters.
        """
        tensors = [*self.module.parameters(), *self.module.buffers()]
        state = hash(tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors))
        return what, x.digest, state

    def inputs(self, data: Any) -> Any:
        """The module's input for a batch of `Samples.data`."""
        data = data.to(self.device) if isinstance(data, Tensor) else data
        if self.preprocess is None:
            return data
        made = self.preprocess(data)
        self.one_input = isinstance(made, Tensor)
        return made

    def batches(self, x: Samples) -> Iterator[slice]:
        """The rows of each batch; raises `UsageError` if there are no samples."""
        if len(x) == 0:
            raise UsageError("no samples to classify")
        for start in range(0, len(x), self.batch_size):
            yield slice(start, start + self.batch_size)

    def forward(self, data: Any) -> Tensor:
        """Logits of one batch (n, classes), in the gradient mode of the caller, who also freezes the module."""
        return self.checked(run(self.module, self.inputs(data)))

    def checked(self, output: Any) -> Tensor:
        """The logits in the module's output; raises `UsageError` if there are none."""
        logits = logits_of(output)
        if logits is None:
            what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(f"{type(self.module).__name__} must return logits of shape (n, classes), got {what}")
        return logits

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


def check_numbers(values: Tensor, x: Samples, what: str) -> None:
    """Raise `XcoreError` that names the first sample whose row holds a NaN, if there is one."""
    bad = values.flatten(1).isnan().any(1).nonzero().flatten().tolist()
    if bad:
        raise XcoreError(
            f"the classifier gives NaN {what} for {len(bad)} of {len(x)} samples, first {x.ids[bad[0]]!r}",
            "check its weights and preprocessing",
        )
