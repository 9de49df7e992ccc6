"""A torch module with its preprocessing: run in batches, frozen, and what it computed is kept by content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from xcore.errors import UsageError, XcoreError
from xcore.graph import frozen, logits_of, run
from xcore.samples import Samples

Preprocess = Callable[[Any], Any]
"""`Samples.data` of a batch (images on the model's device, or a tuple of strings) -> what the module is called with: a
tensor, a tuple of arguments or a mapping of keywords."""


class TensorCache:
    """Tensors by key, least recently used first out, at most `limit` bytes. Gives and keeps copies, on the CPU."""

    def __init__(self, limit: int = 256 * 2**20) -> None:
        self.limit = limit
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Tensor | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key].clone()

    def put(self, key: Hashable, value: Tensor) -> None:
        if value.nbytes > self.limit:
            return
        if key in self._kept:
            self._bytes -= self._kept.pop(key).nbytes
        self._kept[key] = value.detach().to("cpu", copy=True)
        self._bytes += value.nbytes
        while self._bytes > self.limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


class TorchModel:
    """A module with its preprocessing: batched, frozen while it runs, and with a cache that its probes share.

    Parameters
    ----------
    module
        Returns logits (n, classes), or an object with the field ``logits``.
    preprocess
        From `Samples.data` to the module's input; None = as it is.
    device
        Where to run; None = where the module's weights are.
    batch_size
        Samples per forward pass.
    cache
        Where results are kept; None = a new one of 256 MB.
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
        self.module = module.to(self.device)
        self.dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.cache = cache if cache is not None else TensorCache()

    def key(self, what: Hashable, x: Samples) -> Hashable:
        """Key of a result: what it is, the content of the samples and the state of the weights.

        In-place changes of weights (an optimiser's step, `load_state_dict`) are seen by their version counters.
        """
        tensors = [*self.module.parameters(), *self.module.buffers()]
        state = hash(tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors))
        return what, x.digest, state

    def inputs(self, data: Any) -> Any:
        """The module's input for a batch of `Samples.data`."""
        data = data.to(self.device) if isinstance(data, Tensor) else data
        return self.preprocess(data) if self.preprocess is not None else data

    def batches(self, x: Samples) -> Iterator[slice]:
        if len(x) == 0:
            raise UsageError("no samples to classify")
        for start in range(0, len(x), self.batch_size):
            yield slice(start, start + self.batch_size)

    def forward(self, data: Any) -> Tensor:
        """Logits of one batch, under the caller's gradient mode; the caller holds `frozen`."""
        return self.checked(run(self.module, self.inputs(data)))

    def checked(self, output: Any) -> Tensor:
        logits = logits_of(output)
        if logits is None:
            what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(f"{type(self.module).__name__} must return logits of shape (n, classes), got {what}")
        return logits

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) float32 logits on the CPU, no gradient; raises `XcoreError` if any is not a number."""
        key = self.key("logits", x)
        kept = self.cache.get(key)
        if kept is None:
            with frozen(self.module), torch.no_grad():
                kept = torch.cat([self.forward(x.data[rows]).float().cpu() for rows in self.batches(x)])
            check_numbers(kept, x, "logits")
            self.cache.put(key, kept)
        return kept


def check_numbers(values: Tensor, x: Samples, what: str) -> None:
    """Raise `XcoreError`, naming the first sample, if any row holds a NaN."""
    bad = values.flatten(1).isnan().any(1).nonzero().flatten().tolist()
    if bad:
        raise XcoreError(
            f"the classifier gives NaN {what} for {len(bad)} of {len(x)} samples, first {x.ids[bad[0]]!r}",
            "check its weights and preprocessing",
        )
