"""Pipelines with random weights: a tiny one for tests, which draws an image within milliseconds, and a real size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from xcore_diffusion.load import quiet

WORDS = (
    *("a", "on", "zebra", "horse", "tiger", "striped", "spotted", "plain"),
    *("white", "black", "orange", "texture", "grass", "water", ",", "."),
)
BLOCKS = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
TINY: dict[str, dict[str, Any]] = {
    "text_encoder": {
        **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "max_position_embeddings": 16,
    },
    "unet": {
        **{"sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "attention_head_dim": 2},
        **{"down_block_types": (BLOCKS[0],) * 2, "up_block_types": (BLOCKS[1],) * 2, "norm_num_groups": 4},
    },
    "vae": {
        **{"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 64},
    },
}
"""64 x 64 pixels, latents of 4 x 8 x 8."""
STABLE_DIFFUSION_15: dict[str, dict[str, Any]] = {
    "text_encoder": {
        **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
        **{"max_position_embeddings": 77, "vocab_size": 49408},
    },
    "unet": {
        **{"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2},
        **{"down_block_types": (*(BLOCKS[0],) * 3, "DownBlock2D"), "attention_head_dim": 8},
        **{"up_block_types": ("UpBlock2D", *(BLOCKS[1],) * 3)},
    },
    "vae": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512},
}
"""The parts of Stable Diffusion 1.5: 512 x 512 pixels, 860 million weights in the UNet."""


def save_tiny_pipeline(
    directory: Path, *, prediction: str = "epsilon", scheduler: str = "DDIMScheduler", seed: int = 0
) -> Path:
    """Save a `StableDiffusionPipeline` of 64 x 64 pixels and 4 x 8 x 8 latents; returns the directory.

    Parameters
    ----------
    directory
        Where it is saved.
    prediction
        The prediction type of the scheduler: ``epsilon``, ``v_prediction`` or ``sample``.
    scheduler
        Name of the class of the scheduler in diffusers.
    seed
        Seed of the random weights; the global random state is left as it was.
    """
    return save_pipeline(directory, TINY, prediction=prediction, scheduler=scheduler, seed=seed)


def save_pipeline(
    directory: Path,
    sizes: Mapping[str, Mapping[str, Any]],
    *,
    prediction: str = "epsilon",
    scheduler: str = "DDIMScheduler",
    seed: int = 0,
) -> Path:
    """The same with parts of other sizes, such as `STABLE_DIFFUSION_15`."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    specials = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    text = sizes["text_encoder"]
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        parts: dict[str, Any] = {
            "tokenizer": transformers.PreTrainedTokenizerFast(
                tokenizer_object=words, model_max_length=text["max_position_embeddings"], **specials
            ),
            "text_encoder": transformers.CLIPTextModel(
                transformers.CLIPTextConfig(
                    **{"vocab_size": len(vocabulary), **text},
                    pad_token_id=0,
                    bos_token_id=1,
                    eos_token_id=2,
                )
            ),
            "unet": diffusers.UNet2DConditionModel(
                in_channels=4, out_channels=4, cross_attention_dim=text["hidden_size"], **sizes["unet"]
            ),
            "vae": diffusers.AutoencoderKL(
                latent_channels=4,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                **sizes["vae"],
            ),
            "scheduler": getattr(diffusers, scheduler)(
                beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=prediction
            ),
        }
        diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        ).save_pretrained(str(directory))
    return Path(directory)
