"""The state of a training: the weights, the optimiser, the best weights so far, and the checkpoint that keeps them."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from xcore_texplain.options import TranslatorOptions
from xcore_texplain.translator import Translator

WARMUP = 50
"""Steps in which the learning rate rises."""


class TrainingState:
    """Everything that the next step depends on, read from the checkpoint if there is one."""

    def __init__(self, made: Translator, o: TranslatorOptions, file: Path, begun: float) -> None:
        self._made, self._options, self._file = made, o, file
        self._begun, self._seconds_before = begun, 0.0
        self._weights = list(made.maps.parameters())
        self._optimiser = torch.optim.AdamW(self._weights, lr=o.lr, weight_decay=0.01)
        self.step = self.without_improvement = 0
        self.best = float("inf")
        self.log: list[list[float]] = []
        self.best_weights = {k: v.clone() for k, v in made.state_dict().items()}
        if file.is_file():
            self._restore()

    @property
    def seconds(self) -> float:
        """Seconds of the training, including those of interrupted runs up to the checkpoint that was restored."""
        return self._seconds_before + time.perf_counter() - self._begun

    def optimise(self, loss: Tensor) -> None:
        """Take one step of AdamW; the learning rate rises linearly, then falls along half a cosine."""
        o, warmup = self._options, min(WARMUP, self._options.steps // 10 + 1)
        rate = (self.step + 1) / warmup if self.step < warmup else 0.5 * (1 + math.cos(math.pi * self.step / o.steps))
        for group in self._optimiser.param_groups:
            group["lr"] = o.lr * rate
        grads = torch.autograd.grad(loss, self._weights)
        for weight, grad in zip(self._weights, grads, strict=True):
            weight.grad = grad
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.step += 1

    def save_checkpoint(self, loss: float, validation: float) -> None:
        """Record the losses, keep the weights if they are the best so far, and write the checkpoint."""
        self.log.append([self.step, round(loss, 4), round(validation, 4)])
        if validation < self.best:
            self.best, self.without_improvement = validation, 0
            self.best_weights = {k: v.clone() for k, v in self._made.state_dict().items()}
        else:
            self.without_improvement += 1
        tensors = {f"now.{k}": v for k, v in self._made.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_weights.items()}
        for i, weight in enumerate(self._weights):
            for name, value in self._optimiser.state[weight].items():
                tensors[f"adam.{i}.{name}"] = torch.as_tensor(value)
        plain = {"step": self.step, "since": self.without_improvement, "best": self.best, "log": self.log}
        plain["seconds"] = self.seconds
        partial = self._file.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"state": json.dumps(plain)})
        partial.replace(self._file)

    def _restore(self) -> None:
        with safe_open(self._file, "pt") as file:
            plain = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        self._made.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("now.")})
        self.best_weights = {k[5:]: v for k, v in tensors.items() if k.startswith("best.")}
        for i, weight in enumerate(self._weights):
            own = {k.rsplit(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"adam.{i}.")}
            self._optimiser.state[weight] = own
        self.step, self.without_improvement = plain["step"], plain["since"]
        self.best, self.log = plain["best"], plain["log"]
        self._seconds_before = plain.get("seconds", 0.0)  # checkpoints of early versions do not have it
