"""What lies between a layer and the logits of a network, and the layer that is explained by default.

The rule for the default layer: the last block with positions through which everything passes and above which the
network is not affine. A block is a module that is made of others (a stage, a residual block, a transformer block); it
has positions if it gives a map or tokens. Everything passes through it if no skip connection goes around it. Where the
network above is affine, the gradient of a logit is the same for every sample, so that TCAV is undefined. Measured by
`benchmarks/layers.py`, see docs/layers.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xcore.models.graph import LayerInfo, frozen, map_tensors, run, tensor_of, tensors_in, with_tensor
from xcore.models.outputs import Reading

_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)


_AFFINE = re.compile(
    r"(Add|Sub|Neg|Rsub|Clone|ToCopy|View|UnsafeView|ReshapeAlias|Permute|Transpose|T|Expand|Squeeze|Unsqueeze|Select"
    r"|Slice|Index|IndexSelect|Gather|Cat|Stack|Split|SplitWithSizes|Unbind|Mean|Sum|(Adaptive)?AvgPool.D|ConstantPadNd"
    r"|(Reflection|Replication)Pad.D|Upsample\w+|PixelShuffle|Flip|Roll|Repeat|AsStrided|Alias|Copy|CopySlices|Diagonal"
    r"|MaskedFill)Backward\d*"
)
"""Operations, as autograd names them, whose result is affine in all their inputs together."""
_PRODUCT = re.compile(r"(Mul|Div|Mm|Bmm|Mv|Dot|Add(mm|bmm|mv)|Baddbmm|Linear|\w*Convolution|\w*BatchNorm)Backward\d*")
"""Operations whose result is affine if only one input depends on the picture and the others are weights."""


@dataclass(frozen=True)
class Head:
    """What lies between a layer and the logits.

    Attributes
    ----------
    alone
        Whether the logits depend on the input through this layer alone: no skip connection goes around it.
    affine
        Whether the logits are an affine function of this layer. An operation that is not known counts as not affine.
    """

    alone: bool
    affine: bool


def find_heads(
    module: nn.Module, args: Any, layers: Iterable[str], read: Callable[[Any], Tensor | None] | None = None
) -> dict[str, Head]:
    """What lies above these layers, read from the graph that autograd records in one forward pass.

    No code is traced, and neither weights nor samples matter: a network with random weights has the same heads.

    Parameters
    ----------
    args
        Input of the module.
    layers
        Layers that are called once and return one tensor. Those that the logits do not depend on are left out.
    read
        Finds the logits in what the module returns; None = as `xcore.models.outputs.Reading` does.

    Returns
    -------
    Layer -> its head. Nothing if the logits of this module have no gradients, as under `torch.no_grad`.
    """
    nodes: dict[str, Any] = {}

    def watch(name: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            tensor = tensor_of(output)
            if tensor is None or not tensor.requires_grad:
                return None
            copied = tensor.clone()  # its node in the graph is that of this layer alone
            nodes[name] = copied.grad_fn
            return with_tensor(output, copied)

        return hook

    def start(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return output if output.requires_grad else output.detach().requires_grad_()

    handles = []
    try:
        # Words have no gradients, so that for texts everything starts at the tables of their embeddings.
        words = not any(tensor.is_floating_point() for tensor in tensors_in(args))
        tables = [part for part in module.modules() if words and isinstance(part, nn.Embedding)]
        handles += [table.register_forward_hook(start) for table in tables]
        handles += [module.get_submodule(name).register_forward_hook(watch(name)) for name in layers]
        with frozen(module), torch.enable_grad():
            logits = (read or Reading())(run(module, map_tensors(_watched, args)))
    finally:
        for handle in handles:
            handle.remove()
    if logits is None or logits.grad_fn is None:
        return {}
    order = _graph(logits.grad_fn)
    used, passed, affine = set(order), _passed_by_all(order), _affine_above(order)
    return {name: Head(node in passed, node in affine) for name, node in nodes.items() if node in used}


def default_layer(
    module: nn.Module, found: Mapping[str, LayerInfo], layers: Sequence[str], heads: Mapping[str, Head]
) -> str:
    """The layer to explain unless the user names another (see the module for the rule); "" if there is none.

    Where no block fits, it is the last layer with positions that does, and then the last vector. A network that is
    affine above all of its layers is opened at the last layer of the same kinds before the logits.

    Parameters
    ----------
    layers
        The layers to choose from, in the order in which they finish.
    heads
        What `find_heads` found; if it is empty, every layer fits.
    """
    alone = [name for name in layers if not heads or (name in heads and heads[name].alone)]
    fitting = [name for name in alone if not heads or not heads[name].affine]
    return best(module, found, fitting) or best(module, found, alone[:-1]) or next(iter(layers), "")


def best(module: nn.Module, found: Mapping[str, LayerInfo], layers: Sequence[str]) -> str:
    """Of these layers the last block with positions, else the last one with positions, else the last; "" of none."""
    wide = [
        name for name in layers if has_positions(found[name]) and not isinstance(module.get_submodule(name), _POOLS)
    ]
    blocks = [name for name in wide if any(True for _ in module.get_submodule(name).children())]
    if not blocks:
        return next((names[-1] for names in (wide, layers) if names), "")
    # The last of several blocks in a list gives the same output as the list, and says better which one it is.
    last = blocks[-1]
    part = module.get_submodule(last)
    several = isinstance(part, nn.Sequential) and len(part) > 1
    entry = f"{last}.{next(reversed(part._modules))}" if several else ""
    return entry if entry in blocks else last


def has_positions(info: LayerInfo) -> bool:
    """Whether a layer gives a map or tokens, and not one vector for each sample."""
    shape = info.shape or ()
    if info.layout == "NCHW":
        return (shape[1] * shape[2] if info.last else shape[2] * shape[3]) > 1
    return info.layout == "NTC" and shape[1] > 1


def _watched(tensor: Tensor) -> Tensor:
    """A tensor of real numbers as one that autograd watches; others as they are."""
    return tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor


def _graph(end: Any) -> list[Any]:
    """The nodes of autograd's graph below this one, each after all that it feeds into: the order of a backward pass."""
    finished: list[Any] = []
    seen: set[Any] = set()
    stack = [(end, False)]
    while stack:
        node, left = stack.pop()
        if left:
            finished.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((below, False) for below, _ in node.next_functions if below is not None)
    return finished[::-1]


def _passed_by_all(order: Sequence[Any]) -> set[Any]:
    """The nodes that lie on every path from the input to the logits; `order` is that of `_graph`."""
    inner = [node for node in order if node.next_functions]  # without the input: the weights are frozen
    place = {node: i for i, node in enumerate(inner)}
    farthest, passed = 0, set()
    for i, node in enumerate(inner):
        if farthest <= i:  # no path goes around this node
            passed.add(node)
        farthest = max([farthest, *(place.get(n, len(inner)) for n, _ in node.next_functions if n is not None)])
    return passed


def _affine_above(order: Sequence[Any]) -> set[Any]:
    """The nodes above which there are only affine operations, on all paths; `order` is that of `_graph`."""
    bent: set[Any] = set()
    for node in order:
        if node in bent or not _is_affine(node):
            bent.update(n for n, _ in node.next_functions)
    return set(order) - bent


def _is_affine(node: Any) -> bool:
    """Whether the result of a node's operation is affine in what depends on the picture."""
    name, inputs = type(node).__name__, [n for n, _ in node.next_functions]
    if name.startswith("Div") and inputs[-1] is not None:  # by something that depends on the picture
        return False
    if _PRODUCT.fullmatch(name):  # a norm over the batch, as of a network that keeps no statistics, is not affine
        return sum(n is not None for n in inputs) == 1 and not getattr(node, "_saved_training", False)
    return _AFFINE.fullmatch(name) is not None
