"""The structure of a torch module: its layers, the layouts of their outputs, and where its graph can be cut."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

Layout = Literal["NC", "NCHW", "NTC"]

_PLAIN = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Flatten)
_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_PLAIN_NAMES = ("DropPath", "StochasticDepth", "Permute")


@dataclass(frozen=True)
class LayerInfo:
    """What one forward pass showed of a layer.

    Parameters
    ----------
    calls
        How often the layer is called in a forward pass in evaluation mode.
    shape
        Shape of the output for one batch, or None if the output is no tensor.
    layout
        Layout in which a probe gives the output; None if it has none: it is no tensor, has another rank, or its first
        axis is not the batch.
    last
        True for maps with channels last (n, H, W, C), which a probe turns into (n, C, H, W).
    """

    calls: int
    shape: tuple[int, ...] | None
    layout: Layout | None
    last: bool = False


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


def logits_of(output: Any) -> Tensor | None:
    """The logits (n, classes) in what a model returns: the output itself or its field ``logits``; None without any."""
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    return found if isinstance(found, Tensor) and found.ndim == 2 else None


def run(module: nn.Module, args: Any) -> Any:
    """Call a module with its input: one tensor, a tuple of positional arguments or a mapping of keyword arguments."""
    if isinstance(args, Mapping):
        return module(**args)
    return module(*args) if isinstance(args, tuple) else module(args)


def layout_of(shape: tuple[int, ...], channels_last: bool | None = None) -> tuple[Layout | None, bool]:
    """Layout of an output of this shape, and whether its channels come last.

    Without `channels_last`, an output of rank 4 must be that of a square input: its two equal sides are the map.
    """
    if len(shape) == 2:
        return "NC", False
    if len(shape) == 3:
        return "NTC", False
    if len(shape) != 4:
        return None, False
    if channels_last is None:
        channels_last = shape[1] == shape[2] != shape[3]
    return "NCHW", channels_last


def survey(module: nn.Module, args: Any, n: int) -> tuple[dict[str, LayerInfo], Tensor | None]:
    """Run one batch of n square samples and record the output of every layer.

    Returns
    -------
    layers : dict
        Name -> layer, in the order in which they finish. Those that are not called come last, with ``calls=0``.
    logits : Tensor or None
        (n, classes).
    """
    calls: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...] | None] = {}
    handles = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            calls[name] = calls.pop(name, 0) + 1
            shapes[name] = tuple(output.shape) if isinstance(output, Tensor) else None

        return hook

    names = [name for name, _ in module.named_modules() if name]
    try:
        handles = [module.get_submodule(name).register_forward_hook(note(name)) for name in names]
        with frozen(module), torch.no_grad():
            logits = logits_of(run(module, args))
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name in calls:
        shape = shapes[name]
        layout, last = layout_of(shape) if shape and shape[0] == n else (None, False)
        found[name] = LayerInfo(calls[name], shape, layout, last)
    found |= {name: LayerInfo(0, None, None) for name in names if name not in found}
    return found, logits


def useful_layers(module: nn.Module, found: Mapping[str, LayerInfo]) -> tuple[str, ...]:
    """The layers that a probe can open and that compute something, in the order in which they finish."""

    def useful(name: str, info: LayerInfo) -> bool:
        m = module.get_submodule(name)
        plain = isinstance(m, _PLAIN) or type(m).__name__ in _PLAIN_NAMES
        return info.calls == 1 and info.layout is not None and not plain

    return tuple(name for name, info in found.items() if useful(name, info))


def main_layer(module: nn.Module, found: Mapping[str, LayerInfo], layers: Iterable[str]) -> str:
    """The layer to explain unless the user names another; "" if there is none.

    For a convolutional network it is the result of the last stage but one (``layer3`` of a ResNet, ``inception4e`` of
    GoogLeNet, ``stages.2`` of a ConvNeXt). Above the map of the last stage there is often only pooling and a linear
    layer, whose gradient is the same for every sample, so that TCAV is undefined there. The result of an earlier layer
    is taken if that of the stage is no cut of the graph. For a transformer it is the last block, and for any other
    network the last layer before the logits.
    """
    names = list(layers)
    pools = [name for name in names if isinstance(module.get_submodule(name), _POOLS)]
    maps = [n for n in names if n not in pools and found[n].layout == "NCHW" and _area(found[n]) > 1]
    tokens = [n for n in names if found[n].layout == "NTC"]
    if tokens and (not maps or names.index(tokens[-1]) > names.index(maps[-1])):
        return next((n for n in reversed(tokens) if _is_block(module, n)), tokens[-1])
    if maps:
        wanted = (*_stage_ends(module, found, maps), *reversed(maps))
        return next((n for n in wanted if cut(module, n) is not None), maps[-1])
    return names[-2] if len(names) > 1 else (names[0] if names else "")


def _stage_ends(module: nn.Module, found: Mapping[str, LayerInfo], maps: Sequence[str]) -> list[str]:
    """The maps on the last resolution but one whose next sibling has a lower resolution, largest layer first.

    Some layers at the beginning of a stage still have the finer resolution, such as the norm before a downsampling or
    the expansion of an inverted bottleneck. They are smaller than the stage before them, so they come later.
    """
    ends = []
    for i, name in enumerate(maps):
        parent = name.rpartition(".")[0]
        after = next((n for n in maps[i + 1 :] if n.rpartition(".")[0] == parent), None)
        if after is not None and _area(found[name]) > max(_area(found[after]), _area(found[maps[-1]])):
            ends.append(name)
    ends = [name for name in ends if _area(found[name]) == _area(found[ends[-1]])]
    sizes = {name: sum(1 for _ in module.get_submodule(name).modules()) for name in ends}
    return sorted(ends, key=lambda name: (-sizes[name], -maps.index(name)))


def _area(info: LayerInfo) -> int:
    shape = info.shape or (0, 0, 0, 0)
    return shape[1] * shape[2] if info.last else shape[2] * shape[3]


def _is_block(module: nn.Module, name: str) -> bool:
    """Whether a layer is a block: an entry of a list of layers that has layers of its own."""
    m, parent = module.get_submodule(name), module.get_submodule(name.rpartition(".")[0])
    lists = (nn.Sequential, nn.ModuleList)
    return isinstance(parent, lists) and not isinstance(m, lists) and any(True for _ in m.children())


class _Tracer(fx.Tracer):
    """Traces only the modules that contain one layer. All others become single calls, whatever their code does."""

    def __init__(self, target: nn.Module) -> None:
        super().__init__()
        self.target = target

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m is self.target or all(part is not self.target for part in m.modules())


def cut(module: nn.Module, layer: str) -> fx.GraphModule | None:
    """The part of a module above a layer, as a function of the layer's output.

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
            graph = _Tracer(target).trace(root)
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


def _has_side_effects(graph: fx.Graph, site: fx.Node) -> bool:
    """Whether something is computed from the layer and not used, as the result of an in-place operation may be."""
    below = {site}
    for node in graph.nodes:
        if any(n in below for n in node.all_input_nodes):
            below.add(node)
            if not node.users and node.op != "output" and node.target is not torch._assert:
                return True
    return False


def nearest_cut(module: nn.Module, layer: str, layers: Iterable[str]) -> str | None:
    """The layer nearest to `layer`, in the order of `layers`, that is a cut of the graph; of two, the later one."""
    names = list(layers)
    at = names.index(layer) if layer in names else len(names) - 1
    for name in sorted(names, key=lambda n: (abs(names.index(n) - at), names.index(n) < at)):
        if name != layer and cut(module, name) is not None:
            return name
    return None
