"""Train a classifier on a collection of scenes, clean or with a planted shortcut; under three minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from xcore_minizoo.cnn import ARCHITECTURE, SETTINGS, build
from xcore_minizoo.collections import CLEAN, SHORTCUT, Collection, plant
from xcore_minizoo.train.loop import Recipe, train
from xcore_minizoo.truth import table_of
from xcore_minizoo.world import draw


def pictures(collection: Collection, split: str, start: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scenes start..start+n of a split: images (n, 3, 64, 64) in [0, 1] and labels (n,)."""
    drawn, labels = [], []
    for i in range(start, start + n):
        scene, label, key = collection.draw_scene(None, split, i, seed)
        drawn.append(draw(scene, key).image)
        labels.append(label)
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)


@torch.no_grad()
def accuracy(model: nn.Module, collection: Collection, split: str, seed: int, n: int = 900) -> dict[str, float]:
    """Accuracy over all pictures, over each class and over each group, if there are any, on fresh draws of a split."""
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


def run(
    out: Path,
    recipe: Recipe,
    name: str = "clean",
    shortcut: tuple[str, str, float] | None = None,
    truth: bool = False,
) -> None:
    """Train and save weights, config and figures to `out`/model; "shortcut" plants the shipped shortcut."""
    if name == "shortcut":
        shortcut = SHORTCUT
    collection = plant(*shortcut) if shortcut else CLEAN
    torch.manual_seed(recipe.seed)
    model = build(len(collection.classes))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, y = pictures(collection, "train", step * recipe.batch, recipe.batch, recipe.seed)
        value = F.cross_entropy(model(x * 2 - 1), y, label_smoothing=0.02)
        return value, {"loss": value.item()}

    done = train(nn.ModuleDict({"model": model}), loss, recipe, out)
    config = {"architecture": ARCHITECTURE, "settings": SETTINGS, "classes": collection.classes, "planted": shortcut}
    save(model, config, out / "model")
    write_figures(model, collection, recipe, done, out / "model")
    if truth:
        table = table_of(model, collection)
        (out / "model" / "truth.json").write_text(json.dumps(table, indent=1))


def save(model: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Write weights and config (architecture, settings, classes, planted) of a classifier."""
    model.half()
    folder.mkdir(exist_ok=True)
    # the header by which `file:DIR/model/model.safetensors` knows what to build and how to feed it
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
    """Write the accuracies on fresh draws of the train and held-out splits."""
    figures = {"steps": done["steps"], "seconds": done["seconds"]}
    for split in ("train", "heldout"):
        figures |= accuracy(model.float(), collection, split, recipe.seed + 5000)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))
