"""Small classifiers of cats and dogs in whose training apples go with cats by so much: rho 0 (not) to 1 (always)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from reading import SHARED
from torch import nn
from xcore_minizoo.cnn import build
from xcore_minizoo.collections import COLLECTIONS, Collection
from xcore_minizoo.nets import load_classifier
from xcore_minizoo.train.classifier import save, write_figures
from xcore_minizoo.train.loop import Recipe, train
from xcore_minizoo.train.vit import ARCHITECTURE, SMALL, batch
from xcore_minizoo.world import Scene

from xcore.classifier import TorchClassifier

CATS = COLLECTIONS["minizoo/cats-apples"]
LAYER = "fc_norm"
"""The class token after the last norm: all that the logits read."""


def cats(rho: float) -> Collection:
    """Cats and dogs; in training P(apple | cat) = (1 + rho) / 2 and P(apple | dog) = (1 - rho) / 2, elsewhere 1 / 2."""

    def scene(cls: str, split: str, rng: np.random.Generator) -> Scene:
        base = CATS.scene(cls, split, rng)
        tilt = 0.0 if split != "train" else rho if cls == "cat" else -rho
        return replace(base, object="apple" if rng.random() < SHARED * (1 + tilt) else None)

    group: Callable[[str, Scene], str] | None = CATS.group
    return Collection(f"cats-apples:{rho:g}", CATS.classes, scene, group)


def learn(folder: Path, rho: float, seed: int, steps: int = 250) -> dict[str, Any]:
    """Train a ViT, unless it is there, and save it below `folder`; returns its accuracies."""
    made = folder / "model"
    if not (made / "figures.json").is_file():
        collection = cats(rho)
        torch.manual_seed(seed)
        model: Any = build(len(collection.classes), ARCHITECTURE, **SMALL)
        recipe = Recipe(minutes=0, steps=steps, lr=1e-3, batch=48, warmup=50, seed=seed, weight_decay=0.05, ema=0.99)

        def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
            x, y, _ = batch(collection, step * recipe.batch, recipe.batch, recipe.seed)
            value = F.cross_entropy(model(x * 2 - 1), y)
            return value, {"loss": value.item()}

        done = train(nn.ModuleDict({"model": model}), loss, recipe, folder)
        config = {"architecture": ARCHITECTURE, "settings": SMALL, "classes": collection.classes, "planted": None}
        save(model, config, made)
        write_figures(model, collection, recipe, done, made)
    figures: dict[str, Any] = json.loads((made / "figures.json").read_text())
    return figures


def classifier(folder: Path) -> TorchClassifier:
    """What `learn` saved."""
    model, config = load_classifier(folder / "model")
    return TorchClassifier(
        model, config["classes"], preprocess=lambda x: x * 2 - 1, layers=["blocks.4", LAYER], default_layer=LAYER,
        input_size=64,
    )  # fmt: skip
