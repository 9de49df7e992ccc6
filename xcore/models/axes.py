"""Which axis of a layer's output holds the channels: told by what happens to the tensors of a forward pass.

A convolution reads (n, C, H, W), a linear layer (n, ..., C), a mean over the axes 2 and 3 is one over positions, and a
sum has the axes of what it adds. Nothing is concluded from a shape alone but what only one reading of it allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

_FIRST = """
    conv1d conv2d conv_transpose1d conv_transpose2d batch_norm group_norm instance_norm max_pool1d max_pool2d
    avg_pool1d avg_pool2d lp_pool2d max_pool2d_with_indices adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_max_pool1d adaptive_max_pool2d fractional_max_pool2d interpolate upsample pixel_shuffle pixel_unshuffle
    channel_shuffle dropout2d feature_dropout grid_sample local_response_norm
"""
"""Functions whose first argument, and result, have channels on axis 1."""
_KEEPS = """
    add add_ __add__ __radd__ __iadd__ sub sub_ __sub__ __rsub__ __isub__ mul mul_ __mul__ __rmul__ __imul__ div
    div_ __truediv__ __itruediv__ true_divide addcmul lerp relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu
    celu gelu silu mish hardtanh hardtanh_ hardswish hardswish_ hardsigmoid softplus softsign tanh tanh_ sigmoid
    sigmoid_ prelu rrelu threshold clamp clamp_ clip clamp_min exp log sqrt rsqrt square abs neg pow __pow__ dropout
    dropout_ alpha_dropout contiguous clone detach to float half bfloat16 double type type_as cat concat pad cumsum
    roll masked_fill where nan_to_num layer_norm rms_norm linear softmax normalize bernoulli_
"""
"""Functions whose result has the axes of the arguments of its rank."""
_POOLS = frozenset(["mean", "sum", "amax"])


class AxesMode(TorchFunctionMode):
    """Inside the `with` block, keeps account of which tensors have their channels on which axis."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: Any = WeakTensorKeyDictionary()  # so that no tensor is kept for it
        self._above: list[tuple[int, bool]] = []  # union-find: (parent, whether its channels are on the other side)
        self._first, self._keeps = frozenset(_FIRST.split()), frozenset(_KEEPS.split())
        self._told: dict[int, set[tuple[bool, bool]]] = {}  # root -> what was seen: (channels are last, surely)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [t for t in _flat(args) if t.ndim in (3, 4)]
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if given:
            self._see(name, args, kwargs, given, out)
        return out

    def node(self, tensor: Tensor) -> int:
        """The number of a tensor, by which `last` is asked once the forward pass has ended."""
        if tensor not in self._nodes:
            self._nodes[tensor] = len(self._above)
            self._above.append((len(self._above), False))
        return int(self._nodes[tensor])

    def last(self, node: int) -> bool | None:
        """Whether a tensor has its channels last; None if it is not known, or if what was seen disagrees."""
        root, other = self._root(node)
        seen = self._told.get(root, set())
        told = {last for last, sure in seen if sure} or {last for last, _ in seen}
        return next(iter(told)) != other if len(told) == 1 else None

    def _see(self, name: str, args: Any, kwargs: Mapping[str, Any], given: list[Tensor], out: Any) -> None:
        results = [t for t in _flat((out,)) if t.ndim == given[0].ndim]
        if name in self._first:
            for tensor in (given[0], *results):
                self._tell(tensor, last=False)
        elif name == "linear":  # not sure: mixers have linear layers over positions
            for tensor in (given[0], *results):
                self._tell(tensor, last=True, sure=False)
        elif name in ("layer_norm", "rms_norm"):
            shape = args[1] if len(args) > 1 else kwargs.get("normalized_shape", ())
            if isinstance(shape, int) or len(shape) == 1:
                self._tell(given[0], last=True)
        elif name in _POOLS:
            self._pooled(given[0], args, kwargs)
        elif name in ("permute", "transpose", "swapaxes", "movedim", "moveaxis"):
            self._moved(name, given[0], args, kwargs, results)
        elif name == "flatten" and given[0].ndim == 4:  # a map becomes tokens
            for tensor in _flat((out,)):
                if tensor.ndim == 3:
                    self._link(given[0], tensor, turned=False)
        same = name in ("view", "reshape", "reshape_as") and [t.shape for t in results] == [given[0].shape]
        if name in self._keeps or same:
            for tensor in results:
                for other in given:
                    if other.ndim == tensor.ndim:
                        self._link(other, tensor, turned=False)

    def _pooled(self, tensor: Tensor, args: Any, kwargs: Mapping[str, Any]) -> None:
        if tensor.ndim == 3 and (kwargs.get("keepdim") or True in args[2:3]):
            return  # a norm over the channels takes its mean so, too
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        dims = [dims] if isinstance(dims, int) else dims
        if not isinstance(dims, Sequence) or not all(isinstance(d, int) for d in dims):
            return
        axes = {d % tensor.ndim for d in dims}
        positions = {4: ({2, 3}, {1, 2}), 3: ({2}, {1})}[tensor.ndim]
        if axes in positions:
            self._tell(tensor, last=axes == positions[1])

    def _moved(self, name: str, tensor: Tensor, args: Any, kwargs: Mapping[str, Any], results: list[Tensor]) -> None:
        if kwargs or len(results) != 1 or results[0] is tensor:
            return
        order = list(range(tensor.ndim))
        rest = [a for a in args[1:] if not isinstance(a, Tensor)]
        if name == "permute":
            dims = rest[0] if len(rest) == 1 and not isinstance(rest[0], int) else rest
            order = [d % tensor.ndim for d in dims]
        elif len(rest) == 2 and all(isinstance(d, int) for d in rest):
            a, b = (d % tensor.ndim for d in rest)
            if name in ("transpose", "swapaxes"):
                order[a], order[b] = order[b], order[a]
            else:
                order.insert(b, order.pop(a))
        else:
            return
        turns = {(0, 2, 3, 1): True, (0, 3, 1, 2): True, (0, 2, 1): True}
        if tuple(order) in turns or order == sorted(order):
            # (n, C, H, W) -> (n, H, W, C) is one turn; where the tensor is read so, the result is read the other way.
            self._link(tensor, results[0], turned=order != sorted(order))

    def _tell(self, tensor: Tensor, *, last: bool, sure: bool = True) -> None:
        root, other = self._root(self.node(tensor))
        self._told.setdefault(root, set()).add((last != other, sure))

    def _link(self, a: Tensor, b: Tensor, *, turned: bool) -> None:
        (one, side), (two, other) = self._root(self.node(a)), self._root(self.node(b))
        if one != two:
            turn = (side != other) != turned
            self._above[two] = (one, turn)
            told = self._told.pop(two, set())
            self._told.setdefault(one, set()).update((last != turn, sure) for last, sure in told)

    def _root(self, node: int) -> tuple[int, bool]:
        other = False
        while self._above[node][0] != node:
            node, turn = self._above[node]
            other ^= turn
        return node, other


def _flat(entries: Any) -> list[Tensor]:
    """The tensors in the arguments of a function, or in its result, also those in lists."""
    found: list[Tensor] = []
    for entry in entries:
        found += _flat(entry) if isinstance(entry, tuple | list) else [entry] if isinstance(entry, Tensor) else []
    return found


def last_by_growth(shape: tuple[int, ...], taller: tuple[int, ...] | None) -> bool | None:
    """Whether channels are last, from the shape for a picture that is twice as high; None if nothing is learnt."""
    if taller is None or len(taller) != len(shape):
        return None
    grown = [axis for axis in range(1, len(shape)) if taller[axis] != shape[axis]]
    if len(grown) != 1:
        return None
    if len(shape) == 4:
        return {1: True, 2: False}.get(grown[0])
    return grown[0] == 1


def last_by_shape(shape: tuple[int, ...], size: tuple[int, int]) -> bool | None:
    """Whether channels are last in a map, if only one of the readings has the proportions of the picture; else None."""
    if len(shape) != 4:
        return None
    fits = [_proportional(shape[a], shape[a + 1], *size) for a in (2, 1)]
    return fits[1] if fits[0] != fits[1] else None


def _proportional(rows: int, columns: int, height: int, width: int) -> bool:
    """Whether a map may be one of a picture of this size: each side is divided by the same number and rounded."""
    return abs(rows * width - columns * height) < max(height, width)
