"""What the trainings of the BLIP models share: their sizes, the image tower, and how a model is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from xcore_minizoo.labels import FACTORS
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.training import mean_weights

from minizoo_training.oracle import batch
from xcore.contract import Samples

WIDTH = 128
LENGTH = 40
VISION: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 64,
    "patch_size": 8, "hidden_act": "quick_gelu", "initializer_range": 0.02,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "hidden_size": WIDTH, "num_attention_heads": 4, "max_position_embeddings": LENGTH, "encoder_hidden_size": WIDTH,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3, "sep_token_id": 3, "layer_norm_eps": 1e-5,
}  # fmt: skip


def config(vocabulary: int, layers: int, inner: int) -> Any:
    """A small `BlipConfig`: size of the vocabulary, number of text layers, width of their inner layer."""
    from transformers import BlipConfig

    text = TEXT | {"vocab_size": vocabulary, "num_hidden_layers": layers, "intermediate_size": inner}
    return BlipConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH, image_text_hidden_size=WIDTH)


def heads() -> nn.ModuleDict:
    """Heads that read the factors from the class token; they speed the training up and are thrown away."""
    return nn.ModuleDict({f: nn.Linear(WIDTH, len(v)) for f, v in FACTORS.items()})


@torch.no_grad()
def from_clip(tower: Any) -> None:
    """Start a BLIP image tower from that of minizoo/clip.

    CLIP normalises its embeddings before the first block and BLIP does not. That layer norm is therefore folded into
    the embeddings, with the mean scale that it has on pictures of the world; the training corrects the rest.
    """
    from transformers import CLIPModel

    clip = CLIPModel.from_pretrained(WEIGHTS / "clip", local_files_only=True).float().vision_model
    old, norm = clip.embeddings, clip.pre_layrnorm
    x, _, _ = batch(0, 0, 64, "whole")
    scale = (old(x * 2 - 1).var(-1, unbiased=False) + norm.eps).rsqrt().mean(0)  # (tokens,)
    patch, first = scale[1:].mean(), scale[0]
    kernel, place = old.patch_embedding.weight, old.position_embedding.weight
    centred = kernel - kernel.mean(0)
    tower.embeddings.patch_embedding.weight.copy_(norm.weight[:, None, None, None] * patch * centred)
    tower.embeddings.patch_embedding.bias.zero_()
    token = old.class_embedding + place[0]
    tower.embeddings.class_embedding.copy_(norm.weight * first * (token - token.mean()) + norm.bias)
    places = norm.weight * patch * (place - place.mean(1, keepdim=True)) + norm.bias
    places[0] = 0
    tower.embeddings.position_embedding.copy_(places)
    for to, of in zip(tower.encoder.layers, clip.encoder.layers, strict=True):
        attention = of.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        to.self_attn.qkv.weight.copy_(torch.cat([p.weight for p in parts]))
        to.self_attn.qkv.bias.copy_(torch.cat([p.bias for p in parts]))
        to.self_attn.projection.load_state_dict(attention.out_proj.state_dict())
        for name in ("layer_norm1", "layer_norm2", "mlp"):
            getattr(to, name).load_state_dict(getattr(of, name).state_dict())
    tower.post_layernorm.load_state_dict(clip.post_layernorm.state_dict())


def captioners_tower(out: Path) -> dict[str, Tensor]:
    """The weights of the captioner's image tower: those trained beside `out` if there are any, else shipped."""
    beside = out.parent / "blip" / "checkpoint.safetensors"
    found = mean_weights(beside) if beside.is_file() else load_file(str(WEIGHTS / "blip" / "model.safetensors"))
    start = "model.vision_model." if beside.is_file() else "vision_model."
    return {k.removeprefix(start): v.float() for k, v in found.items() if k.startswith(start)}


def images(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """Pictures (64, 64, 3) as (n, 3, 64, 64) in [0, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def samples(x: Tensor) -> Samples:
    """Images (n, 3, 64, 64) as samples with the ids 0, 1, ..."""
    return Samples("image", x, tuple(str(i) for i in range(len(x))))


def save(model: Any, tokens: Any, folder: Path) -> None:
    """Save a directory that `BlipProcessor` and the class of the model can load."""
    from transformers import BlipImageProcessor, BlipProcessor

    half = [0.5, 0.5, 0.5]
    size = {"height": 64, "width": 64}
    processor = BlipImageProcessor(size=size, image_mean=half, image_std=half, resample=Image.Resampling.BILINEAR)
    BlipProcessor(processor, tokens).save_pretrained(folder)
    model.half().save_pretrained(folder)
    model.float()
