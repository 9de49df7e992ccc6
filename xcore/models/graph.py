"""The structure of a torch module: its layers, the layouts of their outputs, and where its graph can be cut.

Which layer is the default is decided in `xcore.models.heads`.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

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
        axis is not the batch, or it is a pooled vector with an extra axis (n, C, 1).
    last
        True for maps with channels last (n, H, W, C), which a probe turns into (n, C, H, W).
    bare
        False if the layer returns a tuple or list, of which the output is the only tensor.
    lowest
        The lowest number in the output; None if the output is not one tensor of real numbers.
    """

    calls: int
    shape: tuple[int, ...] | None
    layout: Layout | None
    last: bool = False
    bare: bool = True
    lowest: float | None = None


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients to the weights, inside the `with` block; both are restored after it."""
    training = [m for m in module.modules() if m.training]  # only these, since a large network is frozen very often
    learning = [p for p in module.parameters() if p.requires_grad]
    try:
        for m in training:
            m.training = False
        for p in learning:
            p.requires_grad_(False)
        yield
    finally:
        for m in training:
            m.training = True
        for p in learning:
            p.requires_grad_(True)


def plain(module: nn.Module) -> nn.Module:
    """The module without the wrappers of `torch.compile`, `DataParallel` and the like, anywhere in it.

    Layers then have the names of the plain network, and hooks on them are called. Weights and all parts that are not
    wrapped are shared. A part that contains a wrapped one is a shallow copy; a module without wrappers is returned as
    it is.
    """
    while (inner := _wrapped(module)) is not None:
        module = inner
    parts = {name: part if part is None else plain(part) for name, part in module._modules.items()}
    compiled = getattr(module, "_compiled_call_impl", None) is not None  # by `module.compile()`, in place
    forward = hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
    if compiled or forward or any(parts[name] is not part for name, part in module._modules.items()):
        module = copy.copy(module)  # which leaves out what `module.compile()` made
        module._modules = parts
        if forward:  # module.forward = torch.compile(module.forward)
            del module.__dict__["forward"]
    return module


def _wrapped(module: nn.Module) -> nn.Module | None:
    """What a wrapper wraps; None if the module is no wrapper."""
    if "_orig_mod" in module._modules:  # of torch.compile
        return module._modules["_orig_mod"]
    return module.module if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) else None


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


def logits_of(output: Any) -> Tensor | None:
    """The logits (n, classes) in what a model returns: the output, its field or its entry ``logits``; None without."""
    entry = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    found = output if isinstance(output, Tensor) else entry
    return found if isinstance(found, Tensor) and found.ndim == 2 else None


def run(module: nn.Module, args: Any) -> Any:
    """Call a module with its input: one tensor, a tuple of positional arguments or a mapping of keyword arguments."""
    if isinstance(args, Mapping):
        return module(**args)
    return module(*args) if isinstance(args, tuple) else module(args)


def layout_of(shape: tuple[int, ...]) -> Layout | None:
    """Layout of an output of this shape; None if it has none that a probe can give."""
    if len(shape) == 3 and shape[2] == 1:  # a vector that is pooled over positions, and not positions of one channel
        return None
    layouts: dict[int, Layout] = {2: "NC", 3: "NTC", 4: "NCHW"}
    return layouts.get(len(shape))


def survey(module: nn.Module, args: Any, n: int) -> tuple[dict[str, LayerInfo], Tensor | None]:
    """Run one batch of n samples and record the output of every layer.

    Returns
    -------
    layers : dict
        Name -> layer, in the order in which they finish. Those that are not called come last, with ``calls=0``.
    logits : Tensor or None
        (n, classes).
    """
    calls, shapes, boxed, lowest, logits = _outputs(module, args)
    whole = {name: shape for name, shape in shapes.items() if shape and shape[0] == n and layout_of(shape)}
    last = _channels_last(module, args, {name: shape for name, shape in whole.items() if len(shape) == 4})
    found = {
        name: LayerInfo(
            calls[name],
            shapes[name],
            layout_of(whole[name]) if name in whole else None,
            last=name in last,
            bare=name not in boxed,
            lowest=lowest.get(name),
        )
        for name in calls
    }
    found |= {name: LayerInfo(0, None, None) for name, _ in module.named_modules() if name and name not in found}
    return found, logits


Shapes = dict[str, tuple[int, ...] | None]


def _outputs(module: nn.Module, args: Any) -> tuple[dict[str, int], Shapes, set[str], dict[str, float], Tensor | None]:
    """How often each layer is called and the shape of its last output, in the order in which they finish.

    Also the layers that return a tuple or list, the lowest number in the output of each layer, and the logits.
    """
    calls: dict[str, int] = {}
    shapes: Shapes = {}
    boxed: set[str] = set()
    lowest: dict[str, float] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = tensor_of(output)
            calls[name] = calls.pop(name, 0) + 1
            shapes[name] = None if tensor is None else tuple(tensor.shape)
            if tensor is not output:
                boxed.add(name)
            if tensor is not None and tensor.is_floating_point() and tensor.numel():
                lowest[name] = float(tensor.min())

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in module.named_modules() if name]
    try:
        with frozen(module), torch.no_grad():
            logits = logits_of(run(module, args))
    finally:
        for handle in handles:
            handle.remove()
    return calls, shapes, boxed, lowest, logits


def _channels_last(module: nn.Module, args: Any, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """The layers of rank 4 whose outputs are (n, H, W, C).

    Where the shape leaves it open, the picture is made twice as high: the axis that grows is the height. For a network
    that takes one size only, the parts that are known decide, such as convolutions and norms over the last axis; then
    the parts inside a layer or before it that give the same shape; and at last a map is taken to have the proportions
    of the picture.
    """
    size = next((tuple(t.shape[-2:]) for t in tensors_in(args) if t.ndim == 4), None)
    if size is None or all(_surely_first(shape, size) for shape in shapes.values()):
        return set()
    try:
        _, taller, *_ = _outputs(module, map_tensors(_twice_as_high, args))
    except Exception:  # a network that takes one size only may fail in any way for another
        taller = {}
    last: dict[str, bool] = {}
    known: dict[tuple[int, ...], bool] = {}  # shape -> what the latest layer of this shape was
    for name, shape in shapes.items():
        other = taller.get(name) or shape
        grown = [axis for axis in (1, 2, 3) if len(other) == 4 and other[axis] != shape[axis]]
        kind = _kind_is_last(module.get_submodule(name), shape)
        if grown in ([1], [2]):
            last[name] = grown == [1]
        elif kind is not None:
            last[name] = kind
        else:
            last[name] = known.get(shape, _proportions_are_last(shape, size))
        known[shape] = last[name]
    return {name for name, is_last in last.items() if is_last}


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


def _surely_first(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Whether (n, C, H, W) is the only sensible reading: the map of a square picture is square, that of others not."""
    return size[0] == size[1] and shape[2] == shape[3] != shape[1]


_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def _kind_is_last(module: nn.Module, shape: tuple[int, ...]) -> bool | None:
    """Whether a layer of this kind has channels last; None if its kind does not say."""
    if isinstance(module, _FIRST) or "Pool2d" in type(module).__name__:
        return False
    if isinstance(module, nn.Linear):
        return True
    if type(module) is nn.LayerNorm and len(module.normalized_shape) == 1:
        return True
    return None


def _proportions_are_last(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Whether the axes 1 and 2 have the proportions of the picture, and the axes 2 and 3 have not."""
    first, last = (abs(math.log(shape[a] * size[1] / (shape[a + 1] * size[0]))) for a in (2, 1))
    return last < first


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
