"""What is done with a module before it runs: wrappers are taken off, and what cannot run or be opened is named."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xcore.base.contents import content
from xcore.base.errors import UsageError, listed

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
_EXPORTED = "_guards_fn"
"""The part that the modules of exported programs have, beside parts that hold weights and are never called."""


def checked_module(given: Any) -> nn.Module:
    """The module that a user gave, if its weights are there; that of a program by `torch.export` is taken out of it.

    Raises
    ------
    UsageError
        It is no module, has lazy layers that no input has passed, or weights on the meta device.
    """
    module = given.module() if isinstance(given, torch.export.ExportedProgram) else given
    name = type(module).__name__
    if not isinstance(module, nn.Module):
        hint = "pass a torch.nn.Module or an xcore Classifier"
        if type(module).__module__.startswith(("onnx", "tensorflow", "keras", "jax", "flax")):
            hint = "xcore reads modules of torch; a function that gives scores works, too: FunctionClassifier"
        elif isinstance(module, Mapping):
            hint = "if it holds weights, build the network and load them: model.load_state_dict(weights)"
        elif isinstance(module, type):
            hint = f"{module.__name__} is a class: pass a network that was made of it"
        elif isinstance(module, Path):
            hint = f"name it by a reference, such as 'file:{module}'"
        elif callable(module):
            hint = "for a function that gives scores, pass xcore.models.FunctionClassifier(function, class_names)"
        raise UsageError(f"{name} is no classifier", hint)
    lazy = [path for path, part in module.named_modules() if any(map(is_lazy, _own(part)))]
    if lazy:
        raise UsageError(
            f"{name} has lazy layers that no input has passed: {listed(lazy)}",
            "run model(images) once, or load its weights, and then explain it",
        )
    empty = [path for path, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.is_meta]
    if empty:
        raise UsageError(
            f"{len(empty)} tensors of {name} are on the meta device and hold no numbers, first {empty[0]!r}",
            "load its weights: model.load_state_dict(weights, assign=True)",
        )
    return module


def is_module(given: Any) -> bool:
    """Whether this is a module or a program by `torch.export`, which both get their class names from outside."""
    return isinstance(given, (nn.Module, torch.export.ExportedProgram))


def plain(module: nn.Module) -> nn.Module:
    """The module without the wrappers of `torch.compile`, `DataParallel` and the like, anywhere in it.

    Layers then have the names of the plain network, and hooks on them are called. Weights and all parts that are not
    wrapped are shared. A part that contains a wrapped one is a shallow copy; a module without wrappers is returned as
    it is. Weights that were made in inference mode have no gradients: they, and only they, are copied.
    """
    return _plain(module, {})


def _plain(module: nn.Module, copies: dict[int, Any]) -> nn.Module:
    while (inner := _wrapped(module)) is not None:
        module = inner
    if isinstance(module, torch.jit.ScriptModule):  # its parts are no modules of Python
        return module
    parts = {name: part if part is None else _plain(part, copies) for name, part in module._modules.items()}
    compiled = getattr(module, "_compiled_call_impl", None) is not None  # by `module.compile()`, in place
    forward = hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
    changed = any(parts[name] is not part for name, part in module._modules.items())
    inference = any(tensor.is_inference() for tensor in _own(module))
    if compiled or forward or inference or changed:
        module = copy.copy(module)  # which leaves out what `module.compile()` made
        module._modules = parts
        if forward:  # module.forward = torch.compile(module.forward)
            del module.__dict__["forward"]
    if inference:
        with torch.inference_mode(False):
            module._parameters = {name: _normal(t, copies) for name, t in module._parameters.items()}
            module._buffers = {name: _normal(t, copies) for name, t in module._buffers.items()}
    return module


def _normal(tensor: Any, copies: dict[int, Any]) -> Any:
    """A tensor that autograd may use: a copy of one of inference mode, the same one each time; others as they are."""
    if tensor is None or not tensor.is_inference():
        return tensor
    if id(tensor) not in copies:
        made = tensor.detach().clone()
        wanted = tensor.requires_grad
        copies[id(tensor)] = nn.Parameter(made, requires_grad=wanted) if isinstance(tensor, nn.Parameter) else made
    return copies[id(tensor)]


def _wrapped(module: nn.Module) -> nn.Module | None:
    """What a wrapper wraps; None if the module is no wrapper."""
    if isinstance(module, torch.jit.ScriptModule):
        return None
    if "_orig_mod" in module._modules:  # of torch.compile
        return module._modules["_orig_mod"]
    kinds = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
    inner = module._modules.get("module")
    if isinstance(module, kinds):
        return inner
    # Copies whose weights are moving averages are used through their `module`: those of timm have no `forward`.
    bare = type(module).forward is nn.Module.forward
    return inner if bare and "forward" not in module.__dict__ else None


def closed_because(module: nn.Module) -> str:
    """Why a module has no layers or gradients that can be had, so that it is a black box; empty if it has them."""
    if isinstance(module, torch.jit.ScriptModule):
        traced = type(module).__module__ == "torch.jit._trace"
        how = "traced (torch.jit.trace)" if traced else "scripted (torch.jit.script)"
        return f"the module is {how}, so that no layer of it can be opened"
    if _EXPORTED in module._modules:
        return "the module was exported (torch.export), and its graph has no layers that can be opened"
    quantised = [name for name, part in module.named_modules() if type(part).__module__.startswith(_QUANTISED)]
    if quantised:
        return f"the module is quantised, first in {quantised[0]!r}, and quantised layers have no gradients"
    return ""


def outside_inference_mode() -> AbstractContextManager[Any]:
    """A context outside of `torch.inference_mode`, in which nothing has gradients; it changes nothing elsewhere."""
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()


def hookable(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The names and parts of a module whose outputs hooks can see: not what is scripted or traced."""
    for name, part in module.named_modules():
        if name and not isinstance(part, torch.jit.ScriptModule):
            yield name, part


def weights_state(module: nn.Module) -> int:
    """A number that changes with the weights and buffers of a module, however they were changed.

    The content is summed (see `xcore.base.contents`), which takes 2 % of a forward pass of 8 pictures for a ResNet-50
    (``python benchmarks/perf/weights_state.py``).
    """
    return hash(tuple(content(tensor) for part in module.modules() for tensor in _own(part)))


def _own(module: nn.Module) -> Iterator[Tensor]:
    """The parameters and buffers of a module itself, without those of its parts."""
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
