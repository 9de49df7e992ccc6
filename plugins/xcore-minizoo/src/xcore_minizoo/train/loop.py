"""The one training loop: AdamW, warm-up and cosine, an exponential mean of the weights, checkpoints, resume.

A checkpoint holds everything the next step depends on, written under a temporary name and renamed. Batches are drawn by
step number, so a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CHECKPOINT_SECONDS = 90.0


@dataclass(frozen=True)
class Recipe:
    """How long and how fast.

    `minutes` bounds the time over all resumptions, not counting what other programs took. `steps`, if given, is used
    instead, and makes the outcome a function of the seed alone.
    """

    minutes: float
    lr: float
    batch: int
    warmup: int = 200
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    final: float = 0.02  # learning rate at the end, as a share of lr
    seed: int = 0
    steps: int | None = None

    def progress(self, step: int, spent: float) -> float:
        """Share of the training that is done; 1 or more = all."""
        return step / self.steps if self.steps is not None else spent / (self.minutes * 60)


def schedule(recipe: Recipe, step: int, progress: float) -> float:
    """Learning rate at a step: linear warm-up, then a cosine over the share of the time that is used up."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return recipe.lr * warm * (recipe.final + (1 - recipe.final) * cosine)


def train(
    modules: nn.ModuleDict,
    loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    recipe: Recipe,
    out: Path,
    check: Callable[[], dict[str, float]] | None = None,
    check_minutes: float = 5.0,
) -> dict[str, float]:
    """Train until the time is used up; leaves the mean weights in `modules`, returns steps, seconds, last figures."""
    out.mkdir(parents=True, exist_ok=True)
    params = [p for p in modules.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.99))
    mean = {k: v.detach().clone() for k, v in modules.state_dict().items()}
    step, spent, figures = _resume(out, modules, optimiser, mean)
    log = (out / "log.jsonl").open("a")
    last_save = last_check = last_log = spent
    started = time.thread_time() - spent
    running: dict[str, float] = {}
    while (progress := recipe.progress(step, spent)) < 1:
        lr = schedule(recipe, step, progress)
        for group in optimiser.param_groups:
            group["lr"] = lr
        value, parts = loss(step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(params, recipe.clip)
        optimiser.step()
        step += 1
        decay = min(recipe.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, now in modules.state_dict().items():
                mean[key].lerp_(now, 1 - decay) if now.is_floating_point() else mean[key].copy_(now)
        for key, part in parts.items():
            running[key] = running.get(key, part) * 0.98 + 0.02 * part
        spent = time.thread_time() - started
        if spent - last_log > 20:
            last_log = spent
            log.write(json.dumps({"step": step, "seconds": round(spent), "lr": lr, **running}) + "\n")
            log.flush()
        if check and spent - last_check > check_minutes * 60:
            with averaged(modules, mean):
                figures = check()
            last_check = spent = time.thread_time() - started
            log.write(json.dumps({"step": step, "seconds": round(spent), "check": figures}) + "\n")
            log.flush()
        if spent - last_save > CHECKPOINT_SECONDS:
            last_save = spent
            _save(out, modules, optimiser, mean, step, spent)
    _save(out, modules, optimiser, mean, step, spent)
    modules.load_state_dict(mean)
    log.write(json.dumps({"step": step, "seconds": round(spent), "done": True, "recipe": asdict(recipe)}) + "\n")
    log.close()
    return {"steps": float(step), "seconds": round(spent, 1), **figures}


class averaged:
    """Within the block the modules hold the mean weights and are in evaluation mode."""

    def __init__(self, modules: nn.ModuleDict, mean: dict[str, Tensor]) -> None:
        self.modules, self.mean = modules, mean

    def __enter__(self) -> None:
        self.kept = {k: v.detach().clone() for k, v in self.modules.state_dict().items()}
        self.modes = {name: m.training for name, m in self.modules.items()}
        self.modules.load_state_dict(self.mean)
        self.modules.eval()

    def __exit__(self, *_: object) -> None:
        self.modules.load_state_dict(self.kept)
        for name, module in self.modules.items():
            module.train(self.modes[name])


def _save(
    out: Path,
    modules: nn.ModuleDict,
    optimiser: torch.optim.Optimizer,
    mean: dict[str, Tensor],
    step: int,
    spent: float,
) -> None:
    tensors = {f"now.{k}": v for k, v in modules.state_dict().items()} | {f"mean.{k}": v for k, v in mean.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    partial = out / "checkpoint.partial"
    save_file(tensors, str(partial), metadata={"step": str(step), "spent": str(spent)})
    partial.replace(out / "checkpoint.safetensors")


def _resume(
    out: Path, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer, mean: dict[str, Tensor]
) -> tuple[int, float, dict[str, float]]:
    path = out / "checkpoint.safetensors"
    if not path.exists():
        return 0, 0.0, {}
    from safetensors import safe_open

    with safe_open(str(path), "pt") as opened:
        about = opened.metadata()
    tensors = load_file(str(path))
    modules.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("now.")})
    for key in mean:
        mean[key].copy_(tensors[f"mean.{key}"])
    state = optimiser.state_dict()
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, index, name = key.split(".", 2)
            state["state"].setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(state)
    return int(about["step"]), float(about["spent"]), {}


def mean_weights(path: Path) -> dict[str, Tensor]:
    """The mean weights of a checkpoint, by the names of the trained modules."""
    return {k[5:]: v for k, v in load_file(str(path)).items() if k.startswith("mean.")}
