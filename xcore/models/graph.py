"""The structure of a torch module: its layers, the layouts of their outputs, and where its graph can be cut.

Which layer is the default is decided in `xcore.models.heads`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from xcore.models.axes import AxesMode, last_by_growth, last_by_shape
from xcore.models.modules import hookable, outside_inference_mode

Layout = Literal["NC", "NCHW", "NTC"]

_PLAIN = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Flatten)
_PLAIN_NAMES = ("DropPath", "StochasticDepth", "Permute")


@dataclass(frozen=True)
class LayerInfo:
    """What one forward pass showed of a layer.

    Parameters
    ----------
    calls
        How often the layer is called in a forward pass in evaluation mode.
    shape
        Shape of the output for one batch, or None if the output is not one tensor.
    layout
        Layout in which a probe gives the output; None if it has none: it is not one tensor, has another rank, its first
        axis is not the batch, it is a pooled vector with an extra axis (n, C, 1), or its axes cannot be told apart.
    last
        True for maps with channels last (n, H, W, C), which a probe turns into (n, C, H, W).
    bare
        False if the layer returns a tuple or list, of which the output is the only tensor.
    lowest
        The lowest number in the output; None if the output is not one tensor of real numbers.
    first
        True for tokens with channels first (n, C, T), which a probe turns into (n, T, C).
    unclear
        Whether nothing shows which axis holds the channels.
    dtype
        The type of the output's numbers; None if it is not one tensor.
    """

    calls: int
    shape: tuple[int, ...] | None
    layout: Layout | None
    last: bool = False
    bare: bool = True
    lowest: float | None = None
    first: bool = False
    unclear: bool = False
    dtype: torch.dtype | None = None


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients to the weights, inside the `with` block; both are restored after it.

    Inference mode, in which nothing has gradients, is left inside it.
    """
    training = [m for m in module.modules() if m.training]  # only these, since a large network is frozen very often
    learning = [p for p in module.parameters() if p.requires_grad]
    try:
        for m in training:
            m.training = False
        for p in learning:
            p.requires_grad_(False)
        with outside_inference_mode():
            yield
    finally:
        for m in training:
            m.training = True
        for p in learning:
            p.requires_grad_(True)


def tensor_of(output: Any) -> Tensor | None:
    """The one tensor in what a layer returns; None if there is none, or more than one.

    It is the output itself, or the only tensor of a tuple or list: a block of transformers may return (output, None).
    """
    if isinstance(output, Tensor):
        return output
    entries = output if type(output) in (tuple, list) else ()
    tensors = [entry for entry in entries if isinstance(entry, Tensor)]
    others = [entry for entry in entries if entry is not None and not isinstance(entry, Tensor)]
    return tensors[0] if len(tensors) == 1 and not others else None


def with_tensor(output: Any, new: Tensor) -> Any:
    """What a layer returns, with `new` in the place of its one tensor (see `tensor_of`)."""
    if isinstance(output, Tensor):
        return new
    return type(output)(new if isinstance(entry, Tensor) else entry for entry in output)


def run(module: nn.Module, args: Any) -> Any:
    """Call a module with its input: one tensor, a tuple of positional arguments or a mapping of keyword arguments.

    It gets copies of the tensors, because it may change them in place.
    """
    args = map_tensors(torch.clone, args)
    if isinstance(args, Mapping):
        return module(**args)
    return module(*args) if isinstance(args, tuple) else module(args)


def layout_of(shape: tuple[int, ...]) -> Layout | None:
    """Layout of an output of this shape; None if it has none that a probe can give."""
    if len(shape) == 3 and shape[2] == 1:  # a vector that is pooled over positions, and not positions of one channel
        return None
    layouts: dict[int, Layout] = {2: "NC", 3: "NTC", 4: "NCHW"}
    return layouts.get(len(shape))


def survey(
    module: nn.Module, args: Any, n: int, read: Callable[[Any, int], Tensor | None] = lambda output, n: None
) -> tuple[dict[str, LayerInfo], Tensor | None]:
    """Run one batch of n samples and record the output of every layer.

    Which axis holds the channels is seen in the network itself: the picture is made twice as high, and the axis that
    grows is one of positions; for a network that takes one size only, what its functions do with the tensors tells
    (`xcore.models.axes`), and at last the proportions of the picture, if they allow one reading only.

    Parameters
    ----------
    read
        Finds the logits in what the module returns.

    Returns
    -------
    layers : dict
        Name -> layer, in the order in which they finish. Those that are not called come last, with ``calls=0``.
    logits : Tensor or None
        (n, classes), as `read` finds them.
    """
    seen = _Pass()
    output = seen.run(module, args)
    whole = {name: shape for name, shape in seen.shapes.items() if shape and shape[0] == n and layout_of(shape)}
    last = _channels_last(module, args, seen, {name: shape for name, shape in whole.items() if len(shape) > 2})
    found: dict[str, LayerInfo] = {}
    for name, calls in seen.calls.items():
        shape = whole.get(name, ())
        unclear = len(shape) > 2 and name not in last
        found[name] = LayerInfo(
            calls,
            seen.shapes[name],
            layout_of(shape) if shape and not unclear else None,
            last=len(shape) == 4 and last.get(name, False),
            first=len(shape) == 3 and not last.get(name, True),
            bare=name not in seen.boxed,
            lowest=seen.lowest.get(name),
            unclear=unclear,
            dtype=seen.dtypes.get(name),
        )
    found |= {name: LayerInfo(0, None, None) for name, _ in module.named_modules() if name and name not in found}
    return found, read(output, n)


@dataclass
class _Pass:
    """What a forward pass shows of the layers, in the order in which they finish; also of one that ends in an error."""

    calls: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    boxed: set[str] = field(default_factory=set)
    lowest: dict[str, float] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    last: dict[str, bool | None] = field(default_factory=dict)
    """Layer -> whether its channels are last, as far as the functions of the network tell."""

    def run(self, module: nn.Module, args: Any) -> Any:
        """Run the module and record its layers; gives its output."""
        axes = AxesMode()
        nodes: dict[str, int] = {}

        def note(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                tensor = tensor_of(output)
                self.calls[name] = self.calls.pop(name, 0) + 1
                self.shapes[name] = None if tensor is None else tuple(tensor.shape)
                if tensor is not output:
                    self.boxed.add(name)
                if tensor is not None:
                    self.dtypes[name] = tensor.dtype
                    nodes[name] = axes.node(tensor)
                    if tensor.is_floating_point() and tensor.numel():
                        self.lowest[name] = float(tensor.min())

            return hook

        handles = [part.register_forward_hook(note(name)) for name, part in hookable(module)]
        try:
            with frozen(module), torch.no_grad(), axes:
                return run(module, args)
        finally:
            self.last = {name: axes.last(node) for name, node in nodes.items()}
            for handle in handles:
                handle.remove()


def _channels_last(module: nn.Module, args: Any, seen: _Pass, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, bool]:
    """Layer -> whether its channels are on the last axis, for maps and tokens of which it is known."""
    size = next((tuple(t.shape[-2:]) for t in tensors_in(args) if t.ndim == 4), None)
    if size is None:  # texts and vectors: tokens (n, T, C), unless the network's functions tell otherwise
        return {name: len(shape) == 3 and seen.last.get(name) is not False for name, shape in shapes.items()}
    taller = _Pass()
    if shapes:
        with suppress(Exception):  # a network that takes one size only may fail in any way for another, at any layer
            taller.run(module, map_tensors(_twice_as_high, args))
    last: dict[str, bool] = {}
    for name, shape in shapes.items():
        told = (
            last_by_growth(shape, taller.shapes.get(name)),
            seen.last.get(name),
            last_by_shape(shape, (size[0], size[1])),
        )
        first_told = next((entry for entry in told if entry is not None), None)
        if first_told is not None:
            last[name] = first_told
    return last


def tensors_in(args: Any) -> list[Tensor]:
    """The tensors in the input of a module."""
    entries = args.values() if isinstance(args, Mapping) else args if isinstance(args, tuple) else (args,)
    return [entry for entry in entries if isinstance(entry, Tensor)]


def map_tensors(change: Callable[[Tensor], Tensor], args: Any) -> Any:
    """The input of a module with each of its tensors changed."""
    if isinstance(args, Mapping):
        return {name: map_tensors(change, entry) for name, entry in args.items()}
    if isinstance(args, tuple):
        return tuple(map_tensors(change, entry) for entry in args)
    return change(args) if isinstance(args, Tensor) else args


def _twice_as_high(tensor: Tensor) -> Tensor:
    """Each picture with itself below it once more; other tensors as they are."""
    return torch.cat([tensor, tensor], 2) if tensor.ndim == 4 else tensor


def useful_layers(module: nn.Module, found: Mapping[str, LayerInfo]) -> tuple[str, ...]:
    """The layers that a probe can open and that compute something, in the order in which they finish."""

    def useful(name: str, info: LayerInfo) -> bool:
        m = module.get_submodule(name)
        plain = isinstance(m, _PLAIN) or type(m).__name__ in _PLAIN_NAMES
        return info.calls == 1 and info.layout is not None and not plain

    return tuple(name for name, info in found.items() if useful(name, info))


class _Tracer(fx.Tracer):
    """Traces only the modules that contain one layer. All others become single calls, whatever their code does."""

    def __init__(self, target: nn.Module) -> None:
        super().__init__()
        self.target = target

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m is self.target or all(part is not self.target for part in m.modules())


def cut(module: nn.Module, layer: str, *, one_input: bool = True) -> fx.GraphModule | None:
    """The part of a module above a layer, as a function of the layer's output.

    Parameters
    ----------
    one_input
        Whether the module is called with one argument, so that all others have their defaults.

    Returns
    -------
    None if the layer is no cut of the graph, that is, if some path from the input to the output does not pass through
    it; also if the code around the layer cannot be traced.
    """
    target = module.get_submodule(layer)
    root = copy.copy(module)  # tracing may set attributes on the root; the copy shares weights and parts
    try:
        with frozen(module):
            root.training = False
            graph = _Tracer(target).trace(root, _defaults(root) if one_input else None)
    except Exception:  # the code of a model may fail in any way when it is traced; the caller then does without a cut
        return None
    sites = [n for n in graph.nodes if n.op == "call_module" and module.get_submodule(str(n.target)) is target]
    output = next(n for n in reversed(graph.nodes) if n.op == "output")
    if len(sites) != 1:
        return None
    site = sites[0]
    needed, queue = {output}, [output]
    while queue:
        for node in queue.pop().all_input_nodes:
            if node is not site and node not in needed:
                needed.add(node)
                queue.append(node)
    reached = any(site in node.all_input_nodes for node in needed)
    if not reached or any(node.op == "placeholder" for node in needed) or _has_side_effects(graph, site):
        return None
    head = fx.Graph()
    env: dict[fx.Node, fx.Node] = {site: head.placeholder("a")}
    for node in graph.nodes:
        if node in needed:
            env[node] = head.node_copy(node, lambda n: env[n])
    return fx.GraphModule(root, head)


def _defaults(module: nn.Module) -> dict[str, Any]:
    """The defaults of all arguments of a module but the first."""
    others = list(inspect.signature(module.forward).parameters.values())[1:]
    return {p.name: p.default for p in others if p.default is not p.empty}


def _has_side_effects(graph: fx.Graph, site: fx.Node) -> bool:
    """Whether something is computed from the layer and not used, as the result of an in-place operation may be."""
    below = {site}
    for node in graph.nodes:
        if any(n in below for n in node.all_input_nodes):
            below.add(node)
            if not node.users and node.op != "output" and node.target is not torch._assert:
                return True
    return False


def nearest_cut(module: nn.Module, layer: str, layers: Iterable[str], *, one_input: bool = True) -> str | None:
    """The layer nearest to `layer`, in the order of `layers`, that is a cut of the graph; of two, the later one."""
    names = list(layers)
    at = names.index(layer) if layer in names else len(names) - 1
    for name in sorted(names, key=lambda n: (abs(names.index(n) - at), names.index(n) < at)):
        if name != layer and cut(module, name, one_input=one_input) is not None:
            return name
    return None
