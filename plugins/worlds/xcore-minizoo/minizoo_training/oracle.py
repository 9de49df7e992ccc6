"""Train a factor oracle on whole, cropped, masked and degraded pictures, calibrate it and save it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from xcore_minizoo.labels import ONE_OF, UNKNOWN, crop, degrade, label, mask_out, random_crop
from xcore_minizoo.oracle import Oracle, agreement
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.training import Recipe, train
from xcore_minizoo.world import any_scene, draw

ARCHITECTURES = {"oracle-a": {"body": "residual", "width": 20}, "oracle-b": {"body": "plain", "width": 24}}


def batch(seed: int, step: int, n: int, view: str = "mixed") -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (n, 3, 64, 64), labels of the factors in `ONE_OF` (n, 4) and of the colours (n, 10).

    `view` is "mixed", "whole", "crop", "masked" or "degraded".
    """
    rng = np.random.default_rng([seed, step])
    images, one_of, colours = [], [], []
    for i in range(n):
        scene = any_scene(rng)
        drawing = draw(scene, (seed, 202, step, i))
        image, labels = drawing.image, label(scene, drawing)
        kind = rng.random() if view == "mixed" else {"whole": 0.0, "crop": 0.4, "masked": 0.65, "degraded": 0.9}[view]
        if 0.35 <= kind < 0.6:
            box = random_crop(rng, 36)
            image, labels = crop(image, box), label(scene, drawing, box)
        elif 0.6 <= kind < 0.72 and scene.shape is not None:
            what = "background" if rng.random() < 0.6 else "animal"
            image, labels = mask_out(image, scene, drawing, what, int(rng.choice([0, 128, 255, 117])))
        if kind >= 0.72 or (view == "mixed" and kind > 0.5):
            image = degrade(image, rng)
        images.append(image)
        one_of.append(labels.one_of)
        colours.append(labels.colours)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor(one_of), torch.from_numpy(np.stack(colours))


def factor_loss(logits: dict[str, Tensor], one_of: Tensor, colours: Tensor) -> Tensor:
    """The cross entropies of the factors in `ONE_OF` and of the colours, over the labels that are known."""
    loss = sum(F.cross_entropy(logits[f], one_of[:, i], ignore_index=UNKNOWN) for i, f in enumerate(ONE_OF))
    asked = colours[:, 0] >= 0
    return loss + 5.0 * F.binary_cross_entropy_with_logits(logits["colours"][asked], colours[asked])


def figures(model: Oracle, seed: int, n: int = 512) -> dict[str, float]:
    """The agreement with the labels on newly painted pictures, by view and factor."""
    out: dict[str, float] = {}
    for view in ("whole", "crop", "masked", "degraded"):
        x, one_of, colours = batch(seed, 0, n, view)
        out |= {f"{view}.{k}": round(v, 4) for k, v in agreement(model.read(x), one_of, colours).items()}
    return out


def calibrate(model: Oracle, seed: int) -> None:
    """Set the temperature of each head to the one with the least loss on newly painted pictures of all views."""
    model.eval()
    x, one_of, colours = batch(seed, 1, 2048)
    with torch.no_grad():
        logits = [model(part) for part in x.split(256)]
    joined = {f: torch.cat([part[f] for part in logits]) for f in logits[0]}
    grid = torch.logspace(-0.5, 0.7, 49)
    asked = colours[:, 0] >= 0
    best = []
    for i, factor in enumerate(ONE_OF):
        losses = [F.cross_entropy(joined[factor] / t, one_of[:, i], ignore_index=UNKNOWN) for t in grid]
        best.append(grid[torch.stack(losses).argmin()])
    scaled = [F.binary_cross_entropy_with_logits(joined["colours"][asked] / t, colours[asked]) for t in grid]
    best.append(grid[torch.stack(scaled).argmin()])
    model.temperature.copy_(torch.stack(best))  # type: ignore[operator]


def coder(out: Path) -> Any:
    """The autoencoder that was trained beside `out`, else the shipped one; None if there is none yet."""
    path = out.parent / "parts" / "autoencoder"
    path = path if path.is_dir() else WEIGHTS / "diffusion" / "vae"
    if not path.is_dir():
        return None
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(path).float().eval().requires_grad_(False)


@torch.no_grad()
def coded(vae: Any, x: Tensor) -> Tensor:
    """Pictures in [0, 1] after they were encoded and decoded."""
    decoded: Tensor = vae.decode(vae.encode(x * 2 - 1).latent_dist.mode()).sample
    return (decoded / 2 + 0.5).clamp(0, 1)


def run(out: Path, recipe: Recipe, name: str = "oracle-a") -> None:
    """Train, calibrate, and save weights, config and figures to `out`/model.

    If the autoencoder has been trained, a quarter of the pictures go through it first, so that the oracle can read the
    pictures of autoencoder and generator.
    """
    vae = coder(out)
    torch.manual_seed(recipe.seed)
    model = Oracle(**ARCHITECTURES[name])  # type: ignore[arg-type]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, one_of, colours = batch(recipe.seed, step, recipe.batch)
        if vae is not None:
            part = slice(0, recipe.batch // 4)
            x[part] = coded(vae, x[part])
        value = factor_loss(model(x), one_of, colours)
        return value, {"loss": value.item()}

    done = train(
        nn.ModuleDict({"model": model}), loss, recipe, out, lambda: figures(model, recipe.seed + 1000, 256), 3.0
    )
    calibrate(model, recipe.seed + 2000)
    (out / "model").mkdir(exist_ok=True)
    model.half()
    save_file(model.state_dict(), str(out / "model" / "model.safetensors"))
    (out / "model" / "config.json").write_text(json.dumps(ARCHITECTURES[name], indent=1))
    card = {"steps": done["steps"], "seconds": done["seconds"], **figures(model.float(), recipe.seed + 3000)}
    if vae is not None:
        x, one_of, colours = batch(recipe.seed + 3001, 0, 512, "whole")
        decoded = torch.cat([coded(vae, part) for part in x.split(64)])
        read = agreement(model.read(decoded), one_of, colours)
        card |= {f"coded.{k}": round(v, 4) for k, v in read.items()}
    (out / "model" / "figures.json").write_text(json.dumps(card, indent=1))
