"""Adapters as values: making them, and saving and loading them as safetensors files. Needs no peft."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xcore.base.errors import MissingError
from xcore.contract.types import Adapter

if TYPE_CHECKING:
    from torch import Tensor

_LORA_B = ".lora_B."
"""In the names of the second matrices of a LoRA, by peft."""
_OPTIMISER = "optimiser."
"""Prefix of the optimiser's tensors in a file."""


def adapter(state: Mapping[str, Tensor], optimiser: Mapping[str, Tensor]) -> Adapter:
    """An adapter of these weights and this state of the optimiser, with the digest of both."""
    h = hashlib.sha256()
    for kind, tensors in (("state", state), ("optimiser", optimiser)):
        for name in sorted(tensors):
            tensor = tensors[name].detach().cpu().contiguous()
            h.update(f"{kind}\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            h.update(tensor.numpy().tobytes())
    return Adapter(dict(state), dict(optimiser), h.hexdigest()[:24])


def scaled(value: Adapter, factor: float) -> Adapter:
    """An adapter that changes its generator `factor` times as much; below 0 in the opposite direction.

    The change of a LoRA is B A, so that only its B is multiplied; of other adapters all weights are. It has no state of
    an optimiser: it is for drawing, not for further updates.
    """
    lora = any(_LORA_B in name for name in value.state)
    state = {name: t * factor if _LORA_B in name or not lora else t for name, t in value.state.items()}
    return adapter(state, {})


def save_adapter(value: Adapter, path: Path) -> None:
    """Write an adapter to one safetensors file.

    The weights have the names of `Adapter.state`, so that the libraries' own loaders can read the file; the tensors of
    the optimiser have the prefix ``optimiser.``.
    """
    from safetensors.torch import save_file

    tensors = {**value.state, **{f"{_OPTIMISER}{name}": t for name, t in value.optimiser.items()}}
    # Copies, since safetensors refuses tensors that share memory.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt"})


def load_adapter(path: Path) -> Adapter:
    """Read an adapter that `save_adapter` wrote; raises `MissingError` if there is no such file."""
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise MissingError(f"no adapter file {str(path)!r}", "name a file that save_adapter wrote")
    tensors = load_file(path)
    state = {name: t for name, t in tensors.items() if not name.startswith(_OPTIMISER)}
    return adapter(state, {n.removeprefix(_OPTIMISER): t for n, t in tensors.items() if n.startswith(_OPTIMISER)})
