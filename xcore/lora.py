"""A LoRA on a network, switched in place, and its preference updates; an `Adapter` is what it holds, as a value.

For plugins whose generator is a network that peft can adapt. Needs torch and peft, which the core alone does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from xcore.errors import MissingError, UsageError, XcoreError
from xcore.types import Adapter

OPTIMISER = "optimiser."
MOMENTS = ("exp_avg", "exp_avg_sq")


class Lora:
    """The LoRA layers of one network (peft). Off until an adapter is put in; the base weights are never written.

    Parameters
    ----------
    network
        LoRA layers are added around some of its linear layers, in place.
    targets
        Names of those layers, or ends of their names, as `peft.LoraConfig.target_modules` has them.
    rank
        Rank r; alpha = r, so the scale alpha / r is 1.
    prefix
        What the names in an adapter begin with, e.g. "unet.", so that the libraries' own loaders know them.
    """

    def __init__(self, network: torch.nn.Module, targets: Sequence[str], rank: int, prefix: str) -> None:
        self.rank = rank
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets), init_lora_weights="gaussian")
        with torch.random.fork_rng():  # peft draws initial values from the global generator; ours replace them
            inject_adapter_in_model(config, network)
        self._layers = [m for m in network.modules() if isinstance(m, BaseTunerLayer)]
        self.parameters: dict[str, torch.nn.Parameter] = {}
        """Names as in a file, e.g. ``unet.mid_block...to_q.lora_A.weight``."""
        for name, parameter in sorted(network.named_parameters()):
            if ".lora_" in name:
                parameter.data = parameter.data.float()
                self.parameters[prefix + name.replace(".default.", ".")] = parameter
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
        """The base network alone, inside the `with` block."""
        self.switch(False)
        try:
            yield
        finally:
            self.switch(True)

    def put(self, value: Adapter | None) -> None:
        """Make the network compute with this adapter (None = the base alone). Copies only what is not there yet.

        Raises
        ------
        UsageError
            The adapter is one of another network or rank.
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


def prefer(
    lora: Lora,
    start: Adapter,
    backward: Callable[[int], Tensor],
    *,
    steps: int,
    lr: float,
    weight_decay: float,
    grad_clip: float,
) -> tuple[Adapter, dict[str, float]]:
    """Take AdamW steps on a preference loss, mean of -log sigmoid(margin) over pairs, from an adapter.

    Parameters
    ----------
    start
        Its optimiser state is continued, so that two calls of one step are one call of two.
    backward
        Given the number of steps taken since the very first, adds the gradient of the loss to the LoRA's parameters
        and returns the margins (k,) of the pairs that it used.
    steps, lr, weight_decay
        Of AdamW; betas .9 and .999.
    grad_clip
        Largest norm of the gradient.

    Returns
    -------
    The new adapter, and the figures of the update: `loss`, `accuracy` and `margin` averaged over the steps (each taken
    before its step, so they belong to the state that the step started from), `lr`, `steps`, `total_steps`.

    Raises
    ------
    XcoreError
        The gradient is not finite. The LoRA must be switched by the caller in any case.
    """
    lora.put(start)
    lora.forget()
    parameters = list(lora.parameters.values())
    optimiser = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)
    done = _restore(optimiser, lora.parameters, start.optimiser)
    figures = {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}
    for step in range(done, done + steps):
        optimiser.zero_grad(set_to_none=True)
        margin = backward(step)
        norm = torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
        if not torch.isfinite(norm):
            raise XcoreError(f"preference update diverged at step {step}", "lower lr or beta")
        optimiser.step()
        figures["loss"] += float(-F.logsigmoid(margin).mean()) / steps
        figures["accuracy"] += float(accuracy(margin)) / steps
        figures["margin"] += float(margin.mean()) / steps
    optimiser.zero_grad(set_to_none=True)
    total = done + steps
    result = lora.take(_keep(optimiser, lora.parameters, total))
    return result, {**figures, "lr": lr, "steps": float(steps), "total_steps": float(total)}


def accuracy(margin: Tensor) -> Tensor:
    """Share of pairs with a positive margin; ties count half."""
    return ((margin > 0).float() + 0.5 * (margin == 0).float()).mean()


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
    """Write an adapter to one safetensors file: the LoRA tensors by their names, the optimiser's beside them."""
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


def _fits(state: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    if state.keys() != parameters.keys():
        odd = sorted(state.keys() ^ parameters.keys())
        raise UsageError(f"the adapter is not one of this generator: {len(odd)} names differ, e.g. {odd[0]}")
    for name, parameter in parameters.items():
        if state[name].shape != parameter.shape:
            raise UsageError(
                f"the adapter is not one of this generator: {name} is {tuple(state[name].shape)}, "
                f"expected {tuple(parameter.shape)}",
                "rank and network must be those that it was made with",
            )


def _keep(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], done: int
) -> dict[str, Tensor]:
    """AdamW's state as tensors: ``exp_avg.NAME``, ``exp_avg_sq.NAME`` and the number of steps taken."""
    kept = {"lora_steps": torch.tensor(done)}
    for name, parameter in parameters.items():
        if parameter in optimiser.state:
            kept |= {f"{m}.{name}": optimiser.state[parameter][m].cpu().clone() for m in MOMENTS}
    return kept


def _restore(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], kept: Mapping[str, Tensor]
) -> int:
    """Put the kept state into a fresh optimiser; the number of steps that it has taken."""
    done = int(kept["lora_steps"]) if "lora_steps" in kept else 0
    if done:
        for name, parameter in parameters.items():
            moments = {m: kept[f"{m}.{name}"].to(parameter.device).clone() for m in MOMENTS}
            optimiser.state[parameter] = {"step": torch.tensor(float(done)), **moments}
    return done
