"""The networks inside components: looked at before a cell, compared after it, and what can be put back is put back."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from xcore.base.contents import content

if TYPE_CHECKING:
    from torch import Tensor, nn

DEPTH, VISITS, LONG = 5, 2000, 100
"""How deep networks are looked for in a component, in how many objects, and which containers are too long to hold
networks, such as lists of paths and caches."""

_HOOKS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
}
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")

COPY = "work on a copy: copy.deepcopy of the network"
REMOVE = "remove it in a `finally`: handle.remove()"
RESTORE = "put it back in a `finally`, also after an error"


class Part(NamedTuple):
    """What is remembered of a part of a network."""

    module: nn.Module
    training: bool
    forward: Any
    """The function that runs it: its class's, or one of its own."""
    own_forward: Any
    hooks: tuple[tuple[int, ...], ...]


class Values(NamedTuple):
    """What is remembered of a parameter or buffer."""

    content: int
    shape: tuple[int, ...]
    dtype: Any
    requires_grad: bool
    gradient: bool
    hooks: int
    buffer: bool
    kept: bool
    """Whether it is part of the network's state; a buffer that is not may be a cache, such as a mask of some size."""


@dataclass(frozen=True)
class Look:
    """A network as it is at one moment."""

    parts: Mapping[str, Part]
    tensors: Mapping[str, Values]


def look(network: nn.Module) -> Look:
    """The parts of a network with their modes and hooks, and its parameters and buffers with their content.

    The layers of adapters (peft) and what they wrap are left out: a generator puts another adapter in for every call,
    and adds them when it is first asked for one. What is wrapped is remembered under the name that it had before.
    """
    parts, tensors = {}, {}
    for name, module in network.named_modules():
        if ".lora_" in f".{name}" or type(module).__module__.startswith("peft."):
            continue
        name = name.replace(".base_layer", "")
        parts[name] = Part(
            module,
            bool(module.training),
            type(module).forward,
            module.__dict__.get("forward"),
            _hooks(module),
        )
        passing = getattr(module, "_non_persistent_buffers_set", ())
        for buffer, own in ((False, module.named_parameters), (True, module.named_buffers)):
            for key, tensor in own(recurse=False):
                kept = not (buffer and key in passing)
                tensors[f"{name}.{key}".lstrip(".")] = _values(tensor, buffer, kept)
    return Look(parts, tensors)


def _hooks(module: nn.Module) -> tuple[tuple[int, ...], ...]:
    found = [getattr(module, kind, None) for kind in _HOOKS]
    return tuple(tuple(hooks or ()) for hooks in found) if any(found) else ()


def _values(tensor: Tensor, buffer: bool, kept: bool) -> Values:
    hooks = sum(len(getattr(tensor, kind, None) or ()) for kind in _TENSOR_HOOKS)
    gradient = tensor.is_leaf and tensor.grad is not None
    shape = tuple(tensor.shape)
    return Values(content(tensor), shape, tensor.dtype, tensor.requires_grad, gradient, hooks, buffer, kept)


def differences(before: Look, now: Look, what: str) -> list[tuple[str, str]]:
    """What changed in a network, one line each with the advice for whoever changed it; none if nothing did.

    Parameters
    ----------
    what
        The network as a reader knows it, e.g. "the classifier tiny".
    """
    if before == now:
        return []
    found: dict[tuple[str, str], list[str]] = {}

    def tell(line: str, advice: str, name: str) -> None:
        found.setdefault((line, advice), []).append(name)

    for name in sorted(before.parts.keys() | now.parts.keys()):
        was, is_ = before.parts.get(name), now.parts.get(name)
        if was is None or is_ is None or was.module is not is_.module:
            verb = "added" if was is None else "removed" if is_ is None else "replaced"
            tell(f"{verb} a part of {what}", COPY, name)
            continue
        if was.training != is_.training:
            mode = "training" if is_.training else "evaluation"
            tell(f"left {what} in {mode} mode", RESTORE, name)
        if (was.forward, was.own_forward) != (is_.forward, is_.own_forward):
            tell(f"replaced the forward of {what}", RESTORE, name)
        if was.hooks != is_.hooks:
            kind = next(k for k, one, two in zip(_HOOKS.values(), *_filled(was, is_), strict=True) if one != two)
            more = sum(map(len, is_.hooks)) > sum(map(len, was.hooks))
            tell(f"left a {kind} on {what}" if more else f"removed a {kind} of {what}", REMOVE, name)
    for name in before.tensors.keys() | now.tensors.keys():
        for line, advice in _of_tensor(before.tensors.get(name), now.tensors.get(name), what):
            tell(line, advice, name)
    return [(line + _named(names), advice) for (line, advice), names in sorted(found.items())]


def _named(names: list[str]) -> str:
    """The first few parts that something is true of; none if it is true of the whole network."""
    if "" in names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f": {', '.join(sorted(names)[:3])}{more}"


def _filled(*parts: Part) -> list[tuple[tuple[int, ...], ...]]:
    return [part.hooks or tuple(() for _ in _HOOKS) for part in parts]


def _of_tensor(was: Values | None, now: Values | None, what: str) -> Iterator[tuple[str, str]]:
    kind = "buffers" if (now or was).buffer else "weights"  # type: ignore[union-attr]
    if was is None or now is None:
        if was is None and not now.buffer:  # type: ignore[union-attr]
            yield f"added weights to {what}", COPY
        if now is None and was.kept:  # type: ignore[union-attr]
            yield f"removed {kind} of {what}", COPY
        return  # a new buffer, or one that was no part of the state, is a cache
    if was.kept and (was.shape, was.dtype) != (now.shape, now.dtype):
        yield f"changed the shape or type of {kind} of {what}", COPY
    elif (was.shape, was.dtype) == (now.shape, now.dtype) and was.content != now.content:
        yield f"changed the {kind} of {what}", COPY
    if was.requires_grad != now.requires_grad:
        yield f"left requires_grad {'on' if now.requires_grad else 'off'} in {what}", RESTORE
    if now.gradient and not was.gradient:
        yield f"left gradients in {what}", "use torch.autograd.grad, which leaves none"
    if was.hooks != now.hooks:
        yield f"left a hook on {kind} of {what}", REMOVE


def put_back(before: Look, network: nn.Module) -> None:
    """Put back modes, hooks, forwards, requires_grad and gradients; weights are as the cell left them."""
    for was in before.parts.values():
        was.module.training = was.training
        if type(was.module).forward is not was.forward:
            _put_back_class(type(was.module), was.forward)
        if was.own_forward is None:
            was.module.__dict__.pop("forward", None)
        else:
            was.module.__dict__["forward"] = was.own_forward
        for kind, known in zip(_HOOKS, _filled(was)[0], strict=True):
            hooks = getattr(was.module, kind, None) or {}
            for key in [key for key in hooks if key not in known]:
                del hooks[key]
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        values = before.tensors.get(name)
        if values is None or not tensor.is_leaf:
            continue
        if tensor.requires_grad != values.requires_grad:
            tensor.requires_grad_(values.requires_grad)
        if tensor.grad is not None and not values.gradient:
            tensor.grad = None
        if not values.hooks:
            for kind in _TENSOR_HOOKS:
                hooks = getattr(tensor, kind, None)
                if hooks:
                    hooks.clear()


def _put_back_class(kind: type, forward: Any) -> None:
    """Make a class run by this function again, where the class itself was changed."""
    if "forward" in vars(kind):
        inherited = next((vars(b)["forward"] for b in kind.__mro__[1:] if "forward" in vars(b)), None)
        if inherited is forward:
            del kind.forward  # type: ignore[attr-defined]
        else:
            kind.forward = forward  # type: ignore[attr-defined]
    else:
        for base in kind.__mro__:
            if "forward" in vars(base):
                base.forward = forward  # type: ignore[attr-defined]
                return


def networks_of(component: Any) -> dict[str, nn.Module]:
    """The networks in a component, by the way to them: in its attributes, in theirs, and in what functions close over.

    One that is a part of another one found before is not named again.
    """
    import torch

    found: dict[str, nn.Module] = {}
    inside: set[int] = set()
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", component, 0)]
    while waiting and len(seen) < VISITS:
        path, thing, depth = waiting.pop(0)
        if id(thing) in seen or isinstance(thing, _PLAIN):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.nn.Module):
            if id(thing) not in inside:
                found[path] = thing
                inside.update(map(id, thing.modules()))
            continue
        if depth < DEPTH:
            waiting += [(f"{path}.{key}".lstrip("."), entry, depth + 1) for key, entry in _entries(thing)]
    return found


_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)


def _entries(thing: Any) -> Sequence[tuple[str, Any]]:
    """What an object holds that may lead to a network."""
    if isinstance(thing, Mapping):
        return [(str(k), v) for k, v in thing.items()] if type(thing) is dict and len(thing) <= LONG else []
    if isinstance(thing, (list, tuple)):
        return [(str(i), v) for i, v in enumerate(thing)] if len(thing) <= LONG else []
    if isinstance(thing, partial):
        return [("func", thing.func), *((str(i), v) for i, v in enumerate(thing.args)), *thing.keywords.items()]
    if isinstance(thing, types.MethodType):
        return [("self", thing.__self__)]
    if isinstance(thing, types.FunctionType):
        cells = thing.__closure__ or ()
        held = [(name, _held(cell)) for name, cell in zip(thing.__code__.co_freevars, cells, strict=True)]
        return [*held, *((str(i), v) for i, v in enumerate(thing.__defaults__ or ()))]
    if type(thing).__module__.partition(".")[0] in ("torch", "numpy", "builtins", "PIL", "tokenizers"):
        return []
    return [*getattr(thing, "__dict__", {}).items()]


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not set yet
        return None
