"""Small classifiers of cats and dogs in whose training apples go with cats by so much: rho 0 (not) to 1 (always)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "plugins/worlds/xcore-minizoo"))  # the trainers are not installed

import numpy as np
import torch
import torch.nn.functional as F
from minizoo_training.vit import ARCHITECTURE, SMALL, batch
from reading import PAIRS, interval, obtain, painted, pick, shares, strip, whole
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn
from xcore_minizoo.cnn import build
from xcore_minizoo.collections import COLLECTIONS, Collection
from xcore_minizoo.data import Painted
from xcore_minizoo.nets import load_classifier
from xcore_minizoo.training import Recipe, save, train, write_figures
from xcore_minizoo.world import Scene
from xcore_texplain.cloud import draw_cloud
from xcore_texplain.features import features
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.words import compare_with_prior

from xcore.contract import Samples
from xcore.models.classifiers import TorchClassifier

CATS = COLLECTIONS["minizoo/cats-apples"]
RHO, SEEDS, STEPS = (0.0, 0.1, 0.25, 0.5, 1.0), (0, 1), 250
SHARED = 0.5  # how often an apple is there if it goes with no class
PETS, SENTENCES, PROBED = 40, 20, 400
LAYER = "fc_norm"
"""The class token after the last norm: all that the logits read."""


def apples(decoder: Any, out: Path) -> None:
    """A linear probe for "apple" in the features of a class beside what TExplain says of it."""
    print(f"## Apples: small ViTs of cats and dogs at {LAYER} (the class token)\n")
    print(
        "| rho | seed | accuracy: as in training | balanced | class | probe's AUC | share with apple | without | lift |"
    )
    print(f"|{'---|' * 9}")
    data = Painted(cats(0))
    prior = Samples.concat([data.samples(cls, "train", PETS, 1) for cls in data.classes])
    fit, held = ({cls: data.samples(cls, s, PROBED, 4) for cls in data.classes} for s in ("explain", "heldout"))
    pairs = partial(painted, pet, PAIRS)
    strip([held[cls] for cls in data.classes], out / "held-out.png")
    aucs, lifts = [], []
    for rho, seed in [(rho, seed) for rho in RHO for seed in SEEDS]:
        folder = out / f"{rho:g}-{seed}"
        balanced = learn(folder, rho, seed)["heldout.all"]
        model = classifier(folder)
        read = obtain(
            decoder, model.open(LAYER), pairs, folder, TranslatorOptions(mode="flatten_bottleneck", steps=600)
        )
        shuffled = read.count(prior, 1, SENTENCES)
        tilted = accuracy(model, Painted(cats(rho)))
        for cls in data.classes:
            there = apple_in(held[cls])
            with_it, without = ([i for i, found in enumerate(there) if found == want][:PETS] for want in (True, False))
            own = read.count(held[cls].take(with_it), 2, SENTENCES)
            words = compare_with_prior(own, shuffled, shuffled, 1000, 0)
            lift = next((w.lift_shuffled for w in words if w.word == "apple"), 0.0)
            draw_cloud(words, cls, folder, stem=cls)
            bare = read.count(held[cls].take(without), 2, SENTENCES).shares_of(["apple"]).mean()
            aucs.append(probed(read.probe, fit[cls], held[cls]))
            lifts.append(lift)
            row = [f"{rho:g}", f"{seed}", f"{tilted:.2f}", f"{balanced:.2f}", cls, f"{aucs[-1]:.3f}"]
            row += [interval(shares(own, ["apple"])), f"{bare:.2f}", f"{lift:.2f}"]
            print(f"| {' | '.join(row)} |", flush=True)
    asked = [i for i in range(len(aucs)) if RHO[i // (len(SEEDS) * len(data.classes))] in (0, 0.5, 1)]
    for what, rows in (("all", range(len(aucs))), ("rho 0, .5 and 1", asked)):
        rank = spearmanr([aucs[i] for i in rows], [lifts[i] for i in rows])[0]
        print(f"\nSpearman of AUC and lift over class x seed x rho, {what} ({len(rows)} points): {rank:.2f}")
    print()


def cats(rho: float) -> Collection:
    """Cats and dogs; in training P(apple | cat) = (1 + rho) / 2 and P(apple | dog) = (1 - rho) / 2, elsewhere 1 / 2."""

    def scene(cls: str, split: str, rng: np.random.Generator) -> Scene:
        base = CATS.scene(cls, split, rng)
        tilt = 0.0 if split != "train" else rho if cls == "cat" else -rho
        return replace(base, object="apple" if rng.random() < SHARED * (1 + tilt) else None)

    group: Callable[[str, Scene], str] | None = CATS.group
    return Collection(f"cats-apples:{rho:g}", CATS.classes, scene, group)


def pet(rng: np.random.Generator) -> Scene:
    """A cat or a dog anywhere; every second one has an apple, whichever it is."""
    base = whole(rng)
    return replace(base, shape=pick(rng, ("cat", "dog")), object="apple" if rng.random() < SHARED else None)


def learn(folder: Path, rho: float, seed: int, steps: int = STEPS) -> dict[str, Any]:
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


def accuracy(model: TorchClassifier, data: Painted) -> float:
    """Share of further training pictures, with their shortcut, that are told right."""
    right = []
    for target, cls in enumerate(data.classes):
        right.append((model.logits(data.samples(cls, "train", PROBED, 9)).argmax(1) == target).float().mean())
    return float(torch.stack(right).mean())


def apple_in(samples: Samples) -> list[bool]:
    """Whether there is an apple, picture by picture."""
    return [bool(factors["object"]) for factors in samples.meta["factors"]]


def probed(probe: Any, fit: Samples, held: Samples) -> float:
    """Held-out AUC of a linear probe for "apple"."""
    x, x2 = (features(probe, samples).flatten(1).numpy() for samples in (fit, held))
    scale = x.std(0) + 1e-6
    made = LogisticRegression(C=0.1, max_iter=1000).fit((x - x.mean(0)) / scale, apple_in(fit))
    return float(roc_auc_score(apple_in(held), made.decision_function((x2 - x.mean(0)) / scale)))
