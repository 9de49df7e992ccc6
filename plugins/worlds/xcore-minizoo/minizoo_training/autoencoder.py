"""Train the AutoencoderKL: pictures of 64 x 64 x 3 to latents of 8 x 8 x 8, each channel of unit variance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xcore_minizoo.training import Recipe, train
from xcore_minizoo.world import any_scene, draw

CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 32, 64, 64],
    "layers_per_block": 1,
    "latent_channels": 8,
    "norm_num_groups": 8,
    "sample_size": 64,
    "scaling_factor": 1.0,
}


def pictures(seed: int, step: int, n: int) -> tuple[Tensor, Tensor]:
    """The batch of a step: pictures (n, 3, 64, 64) in [0, 1], and where animals and objects are (n, 1, 64, 64)."""
    rng = np.random.default_rng([seed, step])
    drawn = [draw(any_scene(rng), (seed, 101, step, i)) for i in range(n)]
    images = torch.from_numpy(np.stack([d.image for d in drawn])).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(np.stack([d.animal + d.object for d in drawn]))[:, None]


def reconstruction(y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The Huber error of the pixels, of the differences of neighbouring pixels, and of the picture at 1/2 and 1/4 size.

    It is quadratic up to 0.5, so that the grain of grass or snow, which the latents cannot hold, does not outweigh a
    wrong colour. `weight` makes animals and objects count more than what is around them.
    """
    loss = (weight * F.smooth_l1_loss(y, x, beta=0.5, reduction="none")).mean() + 0.05 * F.l1_loss(y, x)
    for axis in (2, 3):
        loss = loss + 0.5 * F.smooth_l1_loss(y.diff(dim=axis), x.diff(dim=axis), beta=0.5)
    for factor in (2, 4):
        error = F.smooth_l1_loss(F.avg_pool2d(y, factor), F.avg_pool2d(x, factor), beta=0.5, reduction="none")
        loss = loss + (F.avg_pool2d(weight, factor) * error).mean()
    return loss


def run(out: Path, recipe: Recipe, name: str = "autoencoder") -> None:
    """Train, normalise the latents, and save a diffusers directory to `out`/model.

    "decoder" trains only the decoder of `out`/../parts/autoencoder further: the latents, and so the UNet, stay as they
    are.
    """
    from diffusers import AutoencoderKL

    torch.manual_seed(recipe.seed)
    frozen = name == "decoder"
    model = (
        AutoencoderKL.from_pretrained(out.parent / "parts" / "autoencoder").float()
        if frozen
        else AutoencoderKL(**CONFIG)
    )
    generator = torch.Generator()
    if frozen:
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, covered = pictures(recipe.seed, step, recipe.batch)
        x = x * 2 - 1
        with torch.set_grad_enabled(not frozen):
            posterior = model.encode(x).latent_dist
        generator.manual_seed(recipe.seed * 1_000_003 + step)
        z = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=generator)
        error = reconstruction(model.decode(z).sample, x, 1 + 3 * covered)
        kl = posterior.kl().mean() / z[0].numel()
        return error + 2e-5 * kl, {"error": error.item(), "kl": kl.item(), "std": float(posterior.std.mean().detach())}

    def check() -> dict[str, float]:
        with torch.no_grad():
            x = pictures(recipe.seed + 1, 0, 64)[0] * 2 - 1
            y = model.decode(model.encode(x).latent_dist.mode()).sample
        return {"l1": F.l1_loss(y, x).item() / 2}

    train(nn.ModuleDict({"model": model}), loss, recipe, out, check)
    if frozen:
        model.half().save_pretrained(out / "model")
        return
    normalise(model, torch.cat([pictures(recipe.seed + 1, s, 64)[0] for s in range(1, 33)]))
    model.half().save_pretrained(out / "model")


@torch.no_grad()
def normalise(model: Any, x: Tensor) -> None:
    """Fold the mean and the standard deviation of each latent channel into quant_conv and post_quant_conv.

    Afterwards every channel of the latents of `x` has mean 0 and variance 1, and the decoder sees the same as before.
    """
    model.eval()
    z = torch.cat([model.encode(part * 2 - 1).latent_dist.mode() for part in x.split(64)])
    mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
    channels = len(mean)
    quant, post = model.quant_conv, model.post_quant_conv
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2 * std.log()  # the second half holds log variances
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight *= std[None, :, None, None]
