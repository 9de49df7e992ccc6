"""A LoRA on a UNet's attention, switched in place; an `Adapter` is what it holds, as a value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from xcore.errors import MissingError, UsageError
from xcore.types import Adapter

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
OPTIMISER = "optimiser."


class Lora:
    """The LoRA layers of one UNet (peft). Off until an adapter is put in; the base weights are never written.

    Parameters
    ----------
    unet
        A diffusers `UNet2DConditionModel`; LoRA layers are added around its attention projections.
    rank
        Rank r; alpha = r, so the scale alpha / r is 1.
    """

    def __init__(self, unet: Any, rank: int) -> None:
        self.rank = rank
        with torch.random.fork_rng():  # peft draws initial values from the global generator; ours replace them
            unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS, init_lora_weights="gaussian"))
        self._layers = [m for m in unet.modules() if isinstance(m, BaseTunerLayer)]
        self.parameters: dict[str, torch.nn.Parameter] = {}
        """Names as in a file that diffusers reads, e.g. ``unet.mid_block...to_q.lora_A.weight``."""
        for name, parameter in sorted(unet.named_parameters()):
            if ".lora_" in name:
                parameter.data = parameter.data.float()
                self.parameters["unet." + name.replace(".default.", ".")] = parameter
        self._held = ""
        self.switch(False)

    def initial(self, seed: int) -> Adapter:
        """The adapter that changes nothing yet: A gaussian with standard deviation 1/r, B = 0."""
        generator = torch.Generator().manual_seed(seed)
        state = {
            name: torch.randn(p.shape, generator=generator) / self.rank if ".lora_A." in name else torch.zeros(p.shape)
            for name, p in self.parameters.items()
        }
        return adapter(state, {})

    def switch(self, on: bool) -> None:
        """Turn the LoRA on or off."""
        for layer in self._layers:
            layer.enable_adapters(on)

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base UNet alone, inside the `with` block."""
        self.switch(False)
        try:
            yield
        finally:
            self.switch(True)

    def put(self, value: Adapter | None) -> None:
        """Make the UNet compute with this adapter (None = the base alone). Copies only what is not there yet.

        Raises
        ------
        UsageError
            The adapter is one of another UNet or rank.
        """
        if value is not None and value.digest != self._held:
            _fits(value.state, self.parameters)
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(value.state[name])
            self._held = value.digest
        self.switch(value is not None)

    def take(self, optimiser: Mapping[str, Tensor]) -> Adapter:
        """What the LoRA holds now, as a value, with the state of its optimiser."""
        state = {name: p.detach().cpu().clone() for name, p in self.parameters.items()}
        value = adapter(state, optimiser)
        self._held = value.digest
        return value

    def forget(self) -> None:
        """Note that the parameters are about to be changed in place."""
        self._held = ""


def _fits(state: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    if state.keys() != parameters.keys():
        odd = sorted(state.keys() ^ parameters.keys())
        raise UsageError(f"the adapter is not one of this generator: {len(odd)} names differ, e.g. {odd[0]}")
    for name, parameter in parameters.items():
        if state[name].shape != parameter.shape:
            raise UsageError(
                f"the adapter is not one of this generator: {name} is {tuple(state[name].shape)}, "
                f"expected {tuple(parameter.shape)}",
                "rank and UNet must be those that it was made with",
            )


def adapter(state: Mapping[str, Tensor], optimiser: Mapping[str, Tensor]) -> Adapter:
    """An adapter with the digest of its content."""
    h = hashlib.sha256()
    for kind, tensors in (("state", state), ("optimiser", optimiser)):
        for name in sorted(tensors):
            tensor = tensors[name].detach().cpu().contiguous()
            h.update(f"{kind}\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            h.update(tensor.numpy().tobytes())
    return Adapter(dict(state), dict(optimiser), h.hexdigest()[:24])


def save_adapter(value: Adapter, path: Path) -> None:
    """Write an adapter to one safetensors file, whose LoRA tensors `load_lora_weights` of diffusers reads, too."""
    from safetensors.torch import save_file

    tensors = {**value.state, **{f"{OPTIMISER}{name}": t for name, t in value.optimiser.items()}}
    save_file({name: t.contiguous() for name, t in tensors.items()}, path, metadata={"format": "pt"})


def load_adapter(path: Path) -> Adapter:
    """Read an adapter that `save_adapter` wrote; raises `MissingError` if there is no such file."""
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise MissingError(f"no adapter file {str(path)!r}")
    tensors = load_file(path)
    state = {name: t for name, t in tensors.items() if not name.startswith(OPTIMISER)}
    return adapter(state, {n.removeprefix(OPTIMISER): t for n, t in tensors.items() if n.startswith(OPTIMISER)})
