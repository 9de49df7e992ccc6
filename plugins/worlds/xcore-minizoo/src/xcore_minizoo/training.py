"""How the models of the painted world are trained: one loop for all of them, and the training of the classifiers.

The loop runs AdamW with a linear warm-up and a cosine schedule, keeps an exponential moving average of the weights, and
writes checkpoints. A checkpoint holds everything that the next step depends on and is renamed into place once it is
written whole. Batches are drawn by the number of the step, so a training that was interrupted and resumed sees the same
batches as one that ran through.

This module is shipped because `minizoo/planted` trains classifiers on the user's machine. The trainings of the other
shipped models are in the folder ``minizoo_training`` of the repository and use the same loop.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xcore_minizoo.cnn import ARCHITECTURE, SETTINGS, build
from xcore_minizoo.collections import Collection
from xcore_minizoo.world import draw

CHECKPOINT_SECONDS = 90.0
"""Time between two checkpoints."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    Parameters
    ----------
    minutes
        How long to train, summed over all resumptions; the time that other programs took is not counted.
    lr
        Highest learning rate of AdamW.
    batch
        Samples in each step.
    warmup
        Steps over which the learning rate rises linearly.
    weight_decay
        Weight decay of AdamW.
    ema
        Decay of the moving average of the weights, which is what is saved in the end.
    clip
        Largest norm of the gradient.
    final
        Learning rate at the end, as a share of `lr`.
    seed
        Seed of the initial weights and of the batches.
    steps
        How many steps to train. If it is given, `minutes` is ignored, and the outcome depends on the seed alone.
    """

    minutes: float
    lr: float
    batch: int
    warmup: int = 200
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    final: float = 0.02
    seed: int = 0
    steps: int | None = None

    def progress(self, step: int, spent: float) -> float:
        """The share of the training that is done after `step` steps and `spent` seconds; 1 or more means all of it."""
        return step / self.steps if self.steps is not None else spent / (self.minutes * 60)


def schedule(recipe: Recipe, step: int, progress: float) -> float:
    """The learning rate of a step: a linear warm-up, then a cosine over the share of the training that is done."""
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
    """Train modules, or continue the training whose checkpoint is in `out`.

    Parameters
    ----------
    modules
        What is trained; afterwards it holds the averaged weights.
    loss
        Number of a step -> the loss, and the figures to log.
    recipe
        The settings.
    out
        Folder of the checkpoint and of the log (``log.jsonl``).
    check
        Measures figures of the averaged weights every `check_minutes` minutes, for the log.

    Returns
    -------
    dict
        ``steps``, ``seconds`` and the figures of the last `check`.
    """
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
    """A context in which modules hold the averaged weights and are in evaluation mode."""

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
    """The averaged weights in a checkpoint, under the names that they have in the trained modules."""
    return {k[5:]: v for k, v in load_file(str(path)).items() if k.startswith("mean.")}


def pictures(collection: Collection, split: str, start: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Paint the scenes start..start+n of a split: images (n, 3, 64, 64) in [0, 1] and labels (n,)."""
    drawn, labels = [], []
    for i in range(start, start + n):
        scene, label, key = collection.draw_scene(None, split, i, seed)
        drawn.append(draw(scene, key).image)
        labels.append(label)
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)


@torch.no_grad()
def accuracy(model: nn.Module, collection: Collection, split: str, seed: int, n: int = 900) -> dict[str, float]:
    """The accuracy on n newly painted pictures of a split: of all, of each class, and of each group if there are any.

    The keys are ``SPLIT.all``, ``SPLIT.CLASS`` and ``SPLIT.GROUP``.
    """
    model.eval()
    x, y = pictures(collection, split, 0, n, seed)
    guess = torch.cat([model(part * 2 - 1).argmax(1) for part in x.split(128)])
    right = (guess == y).float()
    parts = {"all": right} | {c: right[y == i] for i, c in enumerate(collection.classes)}
    if collection.group is not None:
        drawn = [collection.draw_scene(None, split, i, seed) for i in range(n)]
        groups = np.array([collection.group(collection.classes[label], scene) for scene, label, _ in drawn])
        parts |= {g: right[torch.from_numpy(groups == g)] for g in sorted(set(groups))}
    return {f"{split}.{name}": round(part.mean().item(), 4) for name, part in parts.items()}


def train_classifier(
    work: Path, folder: Path, collection: Collection, recipe: Recipe, planted: tuple[str, str, float] | None = None
) -> nn.Module:
    """Train a ResNet on the training split of a collection, and save its weights, config and figures.

    Parameters
    ----------
    work
        Folder of the checkpoint. If it holds one, the training continues from there.
    folder
        Where the finished classifier is written to.
    collection, recipe
        What it is trained on, and how.
    planted
        The shortcut that is planted in `collection` (class, factor value, rho), which is noted in the config.

    Returns
    -------
    nn.Module
        The trained classifier with the weights as they were saved, rounded to half precision; it computes in float32.
    """
    torch.manual_seed(recipe.seed)
    model = build(len(collection.classes))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, y = pictures(collection, "train", step * recipe.batch, recipe.batch, recipe.seed)
        value = F.cross_entropy(model(x * 2 - 1), y, label_smoothing=0.02)
        return value, {"loss": value.item()}

    done = train(nn.ModuleDict({"model": model}), loss, recipe, work)
    config = {"architecture": ARCHITECTURE, "settings": SETTINGS, "classes": collection.classes, "planted": planted}
    save(model, config, folder)
    write_figures(model, collection, recipe, done, folder)
    return model


def save(model: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Write the weights of a classifier in half precision, and its config: architecture, settings, classes, planted."""
    model.half()
    folder.mkdir(parents=True, exist_ok=True)
    # from this header the reference `file:FOLDER/model.safetensors` learns what to build and how to prepare images
    header = {
        "architecture": f"timm:{config['architecture']}",
        "arguments": config["settings"],
        "classes": config["classes"],
        "input_size": [64, 64],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    save_file(model.state_dict(), str(folder / "model.safetensors"), metadata={"xcore": json.dumps(header)})
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def write_figures(
    model: nn.Module, collection: Collection, recipe: Recipe, done: dict[str, float], folder: Path
) -> None:
    """Measure the accuracy on newly painted pictures of the train and held-out splits, and write ``figures.json``."""
    figures = {"steps": done["steps"], "seconds": done["seconds"]}
    for split in ("train", "heldout"):
        figures |= accuracy(model.float(), collection, split, recipe.seed + 5000)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))
