"""The training loop: it takes steps, writes a log and checkpoints, and continues from the last checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SECONDS = 60.0
"""Time between two checkpoints."""


class Run:
    """A training that can be interrupted at any time and continues from its last checkpoint.

    Parameters
    ----------
    out
        Folder of the checkpoint and of the log.
    net, optimiser
        The network and its optimiser; if there is a checkpoint they get its state.
    steps
        Number of steps of the whole training.
    """

    def __init__(self, out: Path, net: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> None:
        self.out, self.net, self.optimiser, self.steps = out, net, optimiser, steps
        self.step, self._loss, self._since = 0, 0.0, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        self._file = out / "checkpoint.safetensors"
        if self._file.is_file():
            self._resume(load_file(self._file))

    def take(self, loss: Tensor) -> None:
        """Take one step that lowers this loss."""
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._loss = 0.98 * self._loss + 0.02 * float(loss.detach()) if self._loss else float(loss.detach())
        if self.step % 50 == 0:
            with (self.out / "log.txt").open("a") as log:
                log.write(f"{time.strftime('%H:%M:%S')} step {self.step}/{self.steps} loss {self._loss:.4f}\n")
        if time.monotonic() - self._since > SECONDS or self.step == self.steps:
            save_file(self._state(), self._file.with_suffix(".new"))
            self._file.with_suffix(".new").replace(self._file)
            self._since = time.monotonic()

    def _state(self) -> dict[str, Tensor]:
        kept = {f"net.{name}": p.detach().clone() for name, p in self.net.named_parameters()}
        for i, moments in self.optimiser.state_dict()["state"].items():
            kept |= {f"optimiser.{i}.{name}": t.detach().clone() for name, t in moments.items()}
        return {**kept, "step": torch.tensor(self.step)}

    def _resume(self, kept: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.net.named_parameters():
                parameter.copy_(kept[f"net.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in kept.items():
            if key.startswith("optimiser."):
                _, i, name = key.split(".")
                state.setdefault(int(i), {})[name] = tensor
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.step = int(kept["step"])
