"""Train the UNet of the text-to-image pipeline on encoded pictures; the text encoder is that of the image-text model.

`encode` paints the pictures once and keeps their latents in a file; the captions are made anew for every batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xcore_minizoo.captions import caption, long_caption
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.training import Recipe, train
from xcore_minizoo.world import Scene, draw, training_scene

from minizoo_training.clip import encode as tokenise

CONFIG: dict[str, Any] = {
    "sample_size": 8, "in_channels": 8, "out_channels": 8, "block_out_channels": [64, 128], "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 128, "attention_head_dim": 4, "norm_num_groups": 16,
}  # fmt: skip
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}  # fmt: skip
UNCONDITIONAL = 0.1
"""Share of the captions that are replaced by the empty one, so that guidance works."""


def scene_of(seed: int, index: int) -> Scene:
    """The index-th scene of the training data."""
    return training_scene(np.random.default_rng([seed, 505, index]))


@torch.no_grad()
def encode(vae: Any, seed: int, start: int, stop: int, path: Path) -> None:
    """Paint and encode the scenes start..stop, and write their latents (n, 8, 8, 8) float16 to `path` (npy), once."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    vae.eval()
    parts = []
    for low in range(start, stop, 64):
        numbers = range(low, min(low + 64, stop))
        drawn = np.stack([draw(scene_of(seed, i), (seed, 606, i)).image for i in numbers])
        x = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1
        parts.append(vae.encode(x).latent_dist.mode().half().numpy())
    partial = path.with_suffix(".partial.npy")
    np.save(partial, np.concatenate(parts))
    partial.replace(path)


def build() -> Any:
    """An untrained, small UNet."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**CONFIG)


def pipeline(unet: Any, vae: Any, text_encoder: Any, tokens: Any) -> Any:
    """The `StableDiffusionPipeline` of these parts, with a sampler that needs few steps."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokens, unet=unet, safety_checker=None, feature_extractor=None,
        scheduler=DPMSolverMultistepScheduler(**SCHEDULER), requires_safety_checker=False,
    )  # fmt: skip


def parts(folder: Path) -> tuple[Any, Any, Any]:
    """Autoencoder, text encoder and tokenizer: those in `folder` if it exists, else the shipped ones."""
    from diffusers import AutoencoderKL
    from transformers import AutoTokenizer, CLIPModel, CLIPTextModel

    if not folder.is_dir():
        shipped = WEIGHTS / "diffusion"
        vae = AutoencoderKL.from_pretrained(shipped / "vae").float().eval()
        text = CLIPTextModel.from_pretrained(shipped / "text_encoder").float()
        return vae, text.eval().requires_grad_(False), AutoTokenizer.from_pretrained(shipped / "tokenizer")
    vae = AutoencoderKL.from_pretrained(folder / "autoencoder").float().eval()
    whole = CLIPModel.from_pretrained(folder / "clip").float()
    text = CLIPTextModel(whole.config.text_config)
    source = whole.text_model.state_dict()
    wanted = text.state_dict()
    text.load_state_dict({k: source[k.removeprefix("text_model.")] for k in wanted})
    return vae, text.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder / "clip")


def run(out: Path, recipe: Recipe, name: str = "diffusion", examples: int = 64_000, from_shipped: bool = False) -> None:
    """Train with the parts beside `out` (else with the shipped ones), and save a pipeline directory to `out`/model.

    With `from_shipped` a new training starts from the shipped UNet instead of random weights.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel

    from minizoo_training.evaluate import Judge, conditioning, measure

    vae, text_encoder, tokens = parts(out.parent / "parts")
    half = examples // 2
    for n in (0, 1):  # two files, so that two cores can paint at once
        encode(vae, recipe.seed, n * half, (n + 1) * half, out / f"latents-{n}.npy")
    latents = torch.from_numpy(np.concatenate([np.load(out / f"latents-{n}.npy") for n in (0, 1)]))
    scenes = [scene_of(recipe.seed, i) for i in range(examples)]
    torch.manual_seed(recipe.seed)
    unet = UNet2DConditionModel.from_pretrained(WEIGHTS / "diffusion" / "unet").float() if from_shipped else build()
    noise = DDPMScheduler(**SCHEDULER)
    beside = out.parent / "parts" / "oracle-a"
    judge = Judge(beside if beside.is_dir() else WEIGHTS / "oracle-a")
    generator = torch.Generator()

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.seed, 707, step])
        generator.manual_seed(recipe.seed * 1_000_003 + step)
        chosen = rng.integers(examples, size=recipe.batch)
        texts = [""] * recipe.batch
        for row, i in enumerate(chosen):
            if rng.random() >= UNCONDITIONAL:
                long = scenes[i].background is not None and rng.random() < 0.03
                texts[row] = (long_caption if long else caption)(scenes[i], rng).text
        with torch.no_grad():
            states = text_encoder(tokenise(tokens, texts)).last_hidden_state
        x = latents[torch.from_numpy(chosen)].float()
        e = torch.randn(x.shape, generator=generator)
        # one time step in each of `batch` equal shares of the schedule: less variance than independent draws
        share = (torch.arange(recipe.batch) + torch.rand((recipe.batch,), generator=generator)) / recipe.batch
        t = (share * 1000).long().clamp(max=999)
        guess = unet(noise.add_noise(x, e, t), t, states).sample
        value = F.mse_loss(guess, noise.get_velocity(x, e, t))
        return value, {"loss": value.item()}

    def check() -> dict[str, float]:
        return conditioning(pipeline(unet, vae, text_encoder, tokens), judge, seed=1, per_kind=24)

    done = train(nn.ModuleDict({"unet": unet}), loss, recipe, out, check, 12.0)
    save(out / "model", unet, vae, text_encoder, tokens)
    figures = {"steps": done["steps"], "seconds": done["seconds"], **measure(out / "model", judge)}
    (out / "model" / "figures.json").write_text(json.dumps(figures, indent=1))


def save(path: Path, unet: Any, vae: Any, text_encoder: Any, tokens: Any) -> None:
    """Save the pipeline directory in float16."""
    pipeline(unet.half(), vae.half(), text_encoder.half(), tokens).save_pretrained(path)
