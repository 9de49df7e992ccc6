"""Train a vision transformer as a classifier: the shape of ViT-B/16 in small, 8 x 8 patches and a class token.

"vit" learns the clean classes, starting from the image tower of the captioner. "vit-cats" and "vit-birds" start from
random weights and learn the training split of an experiment with its shortcut.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xcore_minizoo.cnn import build
from xcore_minizoo.collections import CLEAN, COLLECTIONS, Collection
from xcore_minizoo.labels import FACTORS
from xcore_minizoo.training import Recipe, save, train, write_figures
from xcore_minizoo.world import Scene, draw

from minizoo_training.blip import captioners_tower

ARCHITECTURE = "vit_tiny_patch16_224"
SETTINGS: dict[str, Any] = {"img_size": 64, "patch_size": 8, "mlp_ratio": 3}
SMALL: dict[str, Any] = {**SETTINGS, "embed_dim": 96, "depth": 6, "num_heads": 3}
# the sizes of the image tower of the captioner
TOWER: dict[str, Any] = {**SETTINGS, "embed_dim": 128, "depth": 4, "num_heads": 4, "act_layer": "quick_gelu"}
COLLECTION = {
    "vit": CLEAN,
    "vit-cats": COLLECTIONS["minizoo/cats-apples"],
    "vit-birds": COLLECTIONS["minizoo/shortcut-birds"],
}
HELPED = ("shape", "pattern")


def batch(collection: Collection, start: int, n: int, seed: int) -> tuple[Tensor, Tensor, list[Scene]]:
    """Training scenes start..start+n: images (n, 3, 64, 64) in [0, 1], labels (n,) and the scenes.

    Of the clean classes every fourth scene is an "other", because those that resemble a class take longest to learn.
    """
    asked = ["other" if collection is CLEAN and i % 4 == 0 else None for i in range(start, start + n)]
    drawn = [collection.draw_scene(cls, "train", i, seed) for i, cls in enumerate(asked, start)]
    images = np.stack([draw(scene, key).image for scene, _, key in drawn])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor([label for _, label, _ in drawn]), [scene for scene, _, _ in drawn]


def helper_loss(heads: nn.ModuleDict, features: Tensor, scenes: list[Scene]) -> Tensor:
    """The loss of the heads that read shape, pattern and colours."""
    held = torch.tensor([[float(c in s.colours) for c in FACTORS["colours"]] for s in scenes])
    loss = 5.0 * F.binary_cross_entropy_with_logits(heads["colours"](features), held)
    for factor in HELPED:
        value = torch.tensor([FACTORS[factor].index(getattr(s, factor)) for s in scenes])
        loss = loss + F.cross_entropy(heads[factor](features), value)
    return loss


def from_tower(model: nn.Module, tower: dict[str, Tensor]) -> None:
    """Copy the weights of a BLIP image tower; the head stays as it is."""
    names = {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding": "pos_embed",
        "embeddings.patch_embedding": "patch_embed.proj",
        "encoder.layers": "blocks",
        "self_attn.qkv": "attn.qkv",
        "self_attn.projection": "attn.proj",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "post_layernorm": "norm",
    }
    renamed = {}
    for key, value in tower.items():
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = value
    head = {k: v for k, v in model.state_dict().items() if k.startswith("head.")}
    model.load_state_dict({**renamed, **head})


def run(out: Path, recipe: Recipe, name: str = "vit") -> None:
    """Train, and save weights, config and figures to `out`/model."""
    collection = COLLECTION[name]
    settings = TOWER if name == "vit" else SMALL
    torch.manual_seed(recipe.seed)
    model: Any = build(len(collection.classes), ARCHITECTURE, **settings)
    trained = nn.ModuleDict({"model": model})
    heads = nn.ModuleDict({f: nn.Linear(settings["embed_dim"], len(FACTORS[f])) for f in (*HELPED, "colours")})
    if name == "vit":
        from_tower(model, captioners_tower(out))
        trained["heads"] = heads

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, y, scenes = batch(collection, step * recipe.batch, recipe.batch, recipe.seed)
        features = model.forward_head(model.forward_features(x * 2 - 1), pre_logits=True)
        value = main = F.cross_entropy(model.head(features), y, label_smoothing=0.02)
        if name == "vit":
            value = main + 0.3 * helper_loss(heads, features, scenes)
        return value, {"loss": main.item()}

    done = train(trained, loss, recipe, out)
    config = {"architecture": ARCHITECTURE, "settings": settings, "classes": collection.classes, "planted": None}
    save(model, config, out / "model")
    write_figures(model, collection, recipe, done, out / "model")
