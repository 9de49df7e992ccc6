"""Train the image features: a network like the classifiers, trained on the factors of any scene, never on classes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from xcore_minizoo.cnn import ARCHITECTURE, SETTINGS, build
from xcore_minizoo.labels import FACTORS
from xcore_minizoo.oracle import agreement
from xcore_minizoo.training import Recipe, train

from minizoo_training.oracle import batch, factor_loss


def run(out: Path, recipe: Recipe, name: str = "resnet") -> None:
    """Train with a linear head for each factor, and save the network without these heads to `out`/model."""
    torch.manual_seed(recipe.seed)
    model = build(0)
    heads = nn.ModuleDict({f: nn.Linear(SETTINGS["channels"][-1], len(v)) for f, v in FACTORS.items()})

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, one_of, colours = batch(recipe.seed, step, recipe.batch)
        features = model(x * 2 - 1)
        value = factor_loss({f: head(features) for f, head in heads.items()}, one_of, colours)
        return value, {"loss": value.item()}

    done = train(nn.ModuleDict({"model": model, "heads": heads}), loss, recipe, out)
    model.half()
    (out / "model").mkdir(exist_ok=True)
    save_file(model.state_dict(), str(out / "model" / "model.safetensors"))
    config = {"architecture": ARCHITECTURE, "settings": SETTINGS}
    (out / "model" / "config.json").write_text(json.dumps(config, indent=1))
    model.float().eval()
    x, one_of, colours = batch(recipe.seed + 5000, 0, 512, "whole")
    with torch.no_grad():
        features = torch.cat([model(part * 2 - 1) for part in x.split(128)])
        probs = {f: head(features).sigmoid() for f, head in heads.items()}
    figures = {k: round(v, 4) for k, v in agreement(probs, one_of, colours).items()}
    card = {"steps": done["steps"], "seconds": done["seconds"], **figures}
    (out / "model" / "figures.json").write_text(json.dumps(card, indent=1))
