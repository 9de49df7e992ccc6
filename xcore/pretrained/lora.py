"""LoRA layers on a network, which hold the weights of one adapter at a time, and updates of them by preference.

For plugins whose generator is a network that peft can adapt. This module needs peft, which the core does not install;
`xcore.pretrained.adapters` makes, saves and loads adapters without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from xcore.base.errors import UsageError, XcoreError
from xcore.contract.types import Adapter
from xcore.pretrained.adapters import adapter as adapter
from xcore.pretrained.adapters import load_adapter as load_adapter
from xcore.pretrained.adapters import save_adapter as save_adapter

MOMENTS = ("exp_avg", "exp_avg_sq")
"""The names of AdamW's moments in `torch.optim`."""


class Lora:
    """The LoRA layers of one network (peft). They are off until an adapter is put in. The base weights never change.

    Parameters
    ----------
    network
        LoRA layers are added around some of its linear layers, in place.
    targets
        Names of those layers, or ends of their names, as in `peft.LoraConfig.target_modules`.
    rank
        Rank r of the LoRA; alpha = r, so the scale alpha / r is 1.
    prefix
        Beginning of the names in an adapter, e.g. "unet.", so that the libraries' own loaders can read it.
    """

    def __init__(self, network: torch.nn.Module, targets: Sequence[str], rank: int, prefix: str) -> None:
        self.rank = rank
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets), init_lora_weights="gaussian")
        with torch.random.fork_rng():  # peft draws initial values with the global generator; adapters replace them
            inject_adapter_in_model(config, network)
        self._layers = [m for m in network.modules() if isinstance(m, BaseTunerLayer)]
        self.parameters: dict[str, torch.nn.Parameter] = {}
        """Name as in an adapter, e.g. ``unet.mid_block...to_q.lora_A.weight`` -> parameter."""
        for name, parameter in sorted(network.named_parameters()):
            if ".lora_" in name:
                parameter.data = parameter.data.float()
                self.parameters[prefix + name.replace(".default.", ".")] = parameter
        self._held = ""
        self.switch(False)

    def initial(self, seed: int) -> Adapter:
        """An adapter that does not change the network yet: A is Gaussian with standard deviation 1/r, and B is 0."""
        generator = torch.Generator().manual_seed(seed)
        state = {
            name: torch.randn(p.shape, generator=generator) / self.rank if ".lora_A." in name else torch.zeros(p.shape)
            for name, p in self.parameters.items()
        }
        return adapter(state, {})

    def switch(self, on: bool) -> None:
        """Turn the LoRA layers on or off."""
        for layer in self._layers:
            layer.enable_adapters(on)

    @contextmanager
    def off(self) -> Iterator[None]:
        """The LoRA layers are off inside the `with` block, and on after it."""
        self.switch(False)
        try:
            yield
        finally:
            self.switch(True)

    def put(self, value: Adapter | None) -> None:
        """Make the network compute with this adapter, or without LoRA for None.

        The weights are copied only if the layers do not hold them yet.

        Raises
        ------
        UsageError
            The adapter was made for another network or rank.
        """
        if value is not None and value.digest != self._held:
            _fits(value.state, self.parameters)
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(value.state[name])
            self._held = value.digest
        self.switch(value is not None)

    def take(self, optimiser: Mapping[str, Tensor]) -> Adapter:
        """The weights that the LoRA layers hold now, with the state of the optimiser, as an adapter."""
        state = {name: p.detach().cpu().clone() for name, p in self.parameters.items()}
        value = adapter(state, optimiser)
        self._held = value.digest
        return value

    def forget(self) -> None:
        """Must be called before the parameters are changed in place, so that `put` copies the weights again."""
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
    """Take AdamW steps on a preference loss, the mean of -log sigmoid(margin) over pairs, starting from an adapter.

    The caller must call `Lora.put` or `Lora.switch` afterwards, also after an error.

    Parameters
    ----------
    lora
        The LoRA layers, whose parameters are changed.
    start
        The state of its optimiser is continued, so two calls with one step each give the same as one call with two.
    backward
        Takes the number of steps since the first call, adds the gradient of the loss to the parameters of `lora`, and
        returns the margins (k,) of the pairs that it used.
    steps, lr, weight_decay
        Of AdamW, with betas 0.9 and 0.999.
    grad_clip
        Largest norm of the gradient.

    Returns
    -------
    The new adapter, and figures of the update: `loss`, `accuracy` and `margin`, averaged over the steps (each is
    computed before its step, so it belongs to the state before the step), `lr`, `steps` and `total_steps`.

    Raises
    ------
    XcoreError
        The gradient is not finite.
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


def _fits(state: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    if state.keys() != parameters.keys():
        odd = sorted(state.keys() ^ parameters.keys())
        message = f"the adapter is not one of this generator: {len(odd)} names differ, e.g. {odd[0]}"
        raise UsageError(message, "use the generator that it was made with")
    for name, parameter in parameters.items():
        if state[name].shape != parameter.shape:
            raise UsageError(
                f"the adapter is not one of this generator: {name} is {tuple(state[name].shape)}, "
                f"expected {tuple(parameter.shape)}",
                "use the network and the rank that it was made with",
            )


def _keep(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], done: int
) -> dict[str, Tensor]:
    """The state of AdamW as tensors: ``exp_avg.NAME``, ``exp_avg_sq.NAME``, and the number of steps taken."""
    kept = {"lora_steps": torch.tensor(done)}
    for name, parameter in parameters.items():
        if parameter in optimiser.state:
            kept |= {f"{m}.{name}": optimiser.state[parameter][m].cpu().clone() for m in MOMENTS}
    return kept


def _restore(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], kept: Mapping[str, Tensor]
) -> int:
    """Restore a state that `_keep` made in a new optimiser, and return the number of steps taken."""
    done = int(kept["lora_steps"]) if "lora_steps" in kept else 0
    if done:
        for name, parameter in parameters.items():
            moments = {m: kept[f"{m}.{name}"].to(parameter.device).clone() for m in MOMENTS}
            optimiser.state[parameter] = {"step": torch.tensor(float(done)), **moments}
    return done
