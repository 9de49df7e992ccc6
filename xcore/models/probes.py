"""A torch module opened at one layer. Activations and gradients are cached by the content of the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from xcore.base.errors import UsageError, unknown
from xcore.contract.protocols import Classifier, Probe
from xcore.contract.samples import Samples
from xcore.models.graph import (
    LayerInfo,
    Layout,
    cut,
    frozen,
    map_tensors,
    nearest_cut,
    run,
    survey,
    tensor_of,
    with_tensor,
)
from xcore.models.modules import weights_state
from xcore.models.outputs import close
from xcore.models.torch_model import TorchModel, check_numbers


class _Stop(BaseException):
    """Ends a forward pass once the output of the layer is known."""


class TorchProbe:
    """A torch module opened at one layer (protocol `xcore.contract.protocols.Probe`).

    Results are float32 on the CPU; those of `head` have the device and type of its argument. Maps with channels last
    (n, H, W, C), such as those of Swin transformers, are given as (n, C, H, W), and tokens with channels first as
    (n, T, C). Activations and gradients are cached by the content of the samples, so a second call costs only a copy.

    Parameters
    ----------
    model
        The module with its preprocessing, or a plain module.
    layer
        A name in `module.named_modules()`.
    info
        What is known of the layer; None = found when the first samples pass.
    known
        Layers to name in error messages, in the order in which they finish.
    stand_in
        Gives an input of the module that may stand in for any other one above the layer, because the logits depend on
        the input through the layer alone; None if they do not. With it, `head` needs no `like` even where the code
        above the layer cannot be traced.

    Raises
    ------
    UsageError
        There is no such layer. When samples pass, also if the layer is called several times in a forward pass or never,
        or if its output is not one tensor (n, ...) of rank 2 to 4.
    """

    def __init__(
        self,
        model: TorchModel | nn.Module,
        layer: str,
        *,
        info: LayerInfo | None = None,
        known: Sequence[str] | None = None,
        stand_in: Callable[[], Any] = lambda: None,
    ) -> None:
        self.model = model if isinstance(model, TorchModel) else TorchModel(model)
        self.layer = layer
        names = [name for name, _ in self.model.module.named_modules() if name]
        try:
            self._module = self.model.module.get_submodule(layer)
        except AttributeError:
            raise unknown("layer", layer, known or names) from None
        if not layer:
            raise UsageError("the layer has no name", f"name one, such as {(list(known or names) or ['?'])[-1]!r}")
        self._known: Iterable[str] = known if known is not None else names
        self._info = info
        self._make_stand_in = stand_in
        self._seen = False

    @property
    def layout(self) -> Layout:
        """Axes of the activations. A probe that a classifier opened knows them from the start."""
        if self._info is None or self._info.layout is None:
            hint = "call activations first"
            raise UsageError(f"the layout of layer {self.layer!r} is only known once samples have passed", hint)
        return self._info.layout

    def activations(self, x: Samples) -> Tensor:
        """Activations of the samples at the layer, float32 on the CPU: (n, C), (n, C, H, W) or (n, T, C)."""
        return self._activations(x, weights_state(self.model.module))

    def activations_each(self, sets: Sequence[Samples]) -> list[Tensor]:
        """Activations of several sets of samples, each with the bits that `activations` gives for it alone.

        Whether the weights have changed is looked at once for all sets.
        """
        weights = weights_state(self.model.module)
        return [self._activations(x, weights) for x in sets]

    def _activations(self, x: Samples, weights: int) -> Tensor:
        key = self.model.key(("activations", self.layer), x, weights)
        kept = self.model.cache.get(key)
        if kept is None:
            with frozen(self.model.module), torch.no_grad():
                parts = [self._shown(self._capture(x.data[r])[0]).float().cpu() for r in self.model.batches(x)]
                kept = torch.cat(parts).contiguous()  # whatever the format of the network's memory
            check_numbers(kept, x, f"activations at {self.layer!r}")
            self.model.cache.put(key, kept)
        return kept

    def read(self, x: Samples) -> None:
        """Pass the samples once to the end, so that `activations` and the classifier's logits of them are both known.

        They are the same, bit for bit, as those of a pass for each, since the layers below are passed in both.
        """
        wanted = {"logits": self.model.key("logits", x), "activations": self.model.key(("activations", self.layer), x)}
        if any(self.model.cache.get(key) is not None for key in wanted.values()):
            return  # one of the two passes is saved already
        parts = []
        with frozen(self.model.module), torch.no_grad():
            for rows in self.model.batches(x):
                output, logits = self._capture(x.data[rows], to_the_end=True)
                assert logits is not None
                parts.append((self._shown(output).float().cpu(), logits.float().cpu()))
        for (what, key), found in zip(wanted.items(), (1, 0), strict=True):
            kept = torch.cat([part[found] for part in parts]).contiguous()
            check_numbers(kept, x, what if what == "logits" else f"activations at {self.layer!r}")
            self.model.cache.put(key, kept)

    def gradients(self, x: Samples, target: int) -> Tensor:
        """d logit[target] / d activations, in the shape of the activations, float32 on the CPU.

        Raises
        ------
        UsageError
            There is no such class, or the logits do not depend on the layer.
        """
        key = self.model.key(("gradients", self.layer, target), x)
        kept = self.model.cache.get(key)
        if kept is None:
            a = self.activations(x)
            parts = []
            for rows in self.model.batches(x):
                with frozen(self.model.module), torch.enable_grad():
                    leaf = a[rows].detach().clone().requires_grad_()
                    logits = self.head(leaf, None if self._head is not None else x.take(rows))
                    if not 0 <= target < logits.shape[1]:
                        raise UsageError(f"there is no class {target}: the model has {logits.shape[1]} classes")
                    total = logits[:, target].sum()
                    part = torch.autograd.grad(total, leaf, allow_unused=True)[0] if total.requires_grad else None
                if part is None:
                    raise UsageError(
                        f"the logits do not depend on the output of layer {self.layer!r}, or have no gradients",
                        "choose another layer, or a method that needs no gradients",
                    )
                parts.append(part)
            kept = torch.cat(parts)
            check_numbers(kept, x, f"gradients at {self.layer!r}")
            self.model.cache.put(key, kept)
        return kept

    def head(self, a: Tensor, like: Samples | None = None) -> Tensor:
        """Logits (n, classes) from activations in the probe's layout; differentiable in `a`, in batches.

        Parameters
        ----------
        a
            Activations, as `activations` gives them.
        like
            The samples of `a`, one for each row. They are needed only where the layer is no cut of the graph
            (`is_cut`).

        Raises
        ------
        UsageError
            The layer is no cut of the graph, and `like` is missing or has another length. The hint names the nearest
            layer that is a cut.
        """
        if like is None and not self.is_cut:
            near = nearest_cut(self.model.module, self.layer, self._known, one_input=self.model.one_input)
            hint = f"pass the samples as `like`, or use the layer {near!r}" if near else "pass the samples as `like`"
            raise UsageError(f"layer {self.layer!r} is not on every path from the input to the logits", hint)
        if self._head is None and like is not None and len(like) != len(a):
            raise UsageError(f"{len(a)} activations but {len(like)} samples in `like`")
        parts = []
        dtype = self._info.dtype if self._info is not None and self._info.dtype is not None else self.model.dtype
        with frozen(self.model.module):
            for start in range(0, len(a), self.model.batch_size):
                rows = slice(start, start + self.model.batch_size)
                part = self._native(a[rows].to(self.model.device, dtype))
                if self._head is not None:
                    # A copy, because the layer above may work in place.
                    logits = self.model.checked(self._head(part.clone()), len(part))
                elif like is not None:
                    logits = self._swap(part, self.model.inputs(like.data[rows]))
                else:
                    logits = self._swap(part, _repeated(self._stand_in, len(part)))
                parts.append(logits.to(a.device, a.dtype))
        return torch.cat(parts)

    @property
    def is_cut(self) -> bool:
        """Whether the logits follow from the layer's output alone, so that `head` needs no `like`."""
        return self._head is not None or self._stand_in is not None

    @cached_property
    def _head(self) -> fx.GraphModule | None:
        boxed = self._info is not None and not self._info.bare
        # A type that no weight has is that of an autocast in the module's code, which a traced graph would lose.
        dtype = self._info.dtype if self._info is not None else None
        cast = dtype is not None and all(p.dtype != dtype for p in self.model.module.parameters())
        return None if boxed or cast else cut(self.model.module, self.layer, one_input=self.model.one_input)

    @cached_property
    def _stand_in(self) -> Any:
        """An input of the module that may stand in for others above the layer, once it is seen to do so; else None."""
        args = self._make_stand_in()
        if args is None:
            return None
        outputs: list[Any] = []
        with frozen(self.model.module), torch.no_grad():
            handle = self._module.register_forward_hook(lambda _module, _args, output: outputs.append(output))
            try:
                logits = self.model.checked(run(self.model.module, args))
            finally:
                handle.remove()
            part = tensor_of(outputs[0])
            again = None if part is None else self._swap(part, _repeated(args, len(logits)))
        return args if again is not None and close(again, logits) else None

    def _capture(self, data: Any, *, to_the_end: bool = False) -> tuple[Tensor, Tensor | None]:
        """The layer's output for one batch; the logits, too, if it runs to the end.

        The first batch runs to the end, to check that the layer is called once.
        """
        outputs: list[Any] = []
        logits = None

        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = tensor_of(output)  # a copy is kept, because the layer above may work in place
            outputs.append(output if tensor is None else tensor.detach().clone())
            if self._seen and not to_the_end:
                raise _Stop

        args = self.model.inputs(data)
        self.model.try_out(args, len(data))  # beforehand, since the hook would count it
        handle = self._module.register_forward_hook(hook)
        try:
            logits = self.model.run(args, len(data))
        except _Stop:
            pass
        finally:
            handle.remove()
        if len(outputs) != 1:
            often = f"called {len(outputs)} times in a forward pass" if outputs else "not called in evaluation mode"
            raise UsageError(f"layer {self.layer!r} is {often}", "choose a layer that is called once")
        output = tensor_of(outputs[0])
        if output is None:
            raise UsageError(f"layer {self.layer!r} returns a {type(outputs[0]).__name__}, not a tensor")
        if self._info is None:
            found, _ = survey(self.model.module, self.model.inputs(data), len(data))
            self._info = found[self.layer]
        if len(output) != len(data) or self._info.layout is None or output.ndim != len(self._info.shape or ()):
            raise UsageError(f"layer {self.layer!r} gives shape {tuple(output.shape)} for {len(data)} samples")
        self._seen = True
        return output, logits

    def _swap(self, part: Tensor, args: Any) -> Tensor:
        """Logits of one batch of inputs of the module, with the layer's output replaced by `part`."""

        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            tensor = tensor_of(output)
            if tensor is None or tensor.shape != part.shape:
                shape = tuple(tensor.shape) if tensor is not None else type(output).__name__
                hint = "pass the samples of these activations as `like`"
                raise UsageError(
                    f"layer {self.layer!r} gives {shape} for other samples, activations are {tuple(part.shape)}", hint
                )
            return with_tensor(output, part.clone())

        handle = self._module.register_forward_hook(hook)
        try:
            return self.model.checked(run(self.model.module, args), len(part))
        finally:
            handle.remove()

    def _shown(self, a: Tensor) -> Tensor:
        if self._info is not None and self._info.first:
            return a.transpose(1, 2).contiguous()
        return a.permute(0, 3, 1, 2).contiguous() if self._info is not None and self._info.last else a

    def _native(self, a: Tensor) -> Tensor:
        if self._info is not None and self._info.first:
            return a.transpose(1, 2).contiguous()
        return a.permute(0, 2, 3, 1).contiguous() if self._info is not None and self._info.last else a


def activations_each(probe: Probe, sets: Sequence[Samples]) -> list[Tensor]:
    """The activations of several sets of samples, each passed on its own; see `TorchProbe.activations_each`."""
    each = getattr(probe, "activations_each", None)
    found: list[Tensor] = [probe.activations(x) for x in sets] if each is None else each(sets)
    return found


def read_once(classifier: Classifier, layer: str, samples: Samples) -> None:
    """Let one pass of the samples give both their logits and their activations at a layer, where a probe can do so.

    Whoever asks for both then gets what was kept.
    """
    read = getattr(classifier.open(layer), "read", None)
    if read is not None:
        read(samples)


def _repeated(args: Any, n: int) -> Any:
    """The first sample of a module's input n times."""
    return map_tensors(lambda tensor: tensor[:1].expand(n, *tensor.shape[1:]) if tensor.ndim else tensor, args)
