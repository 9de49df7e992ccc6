"""A tiny pipeline with random weights for tests: it has every part, and draws an image within milliseconds."""

from __future__ import annotations

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
TOKENS = 16


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
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    specials = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        parts: dict[str, Any] = {
            "tokenizer": transformers.PreTrainedTokenizerFast(
                tokenizer_object=words, model_max_length=TOKENS, **specials
            ),
            "text_encoder": transformers.CLIPTextModel(
                transformers.CLIPTextConfig(
                    vocab_size=len(vocabulary),
                    hidden_size=16,
                    intermediate_size=32,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    max_position_embeddings=TOKENS,
                    pad_token_id=0,
                    bos_token_id=1,
                    eos_token_id=2,
                )
            ),
            "unet": diffusers.UNet2DConditionModel(
                sample_size=8,
                in_channels=4,
                out_channels=4,
                block_out_channels=(16, 32),
                layers_per_block=1,
                down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
                cross_attention_dim=16,
                attention_head_dim=2,
                norm_num_groups=4,
            ),
            "vae": diffusers.AutoencoderKL(
                latent_channels=4,
                block_out_channels=(8, 8, 16, 16),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=1,
                norm_num_groups=4,
                sample_size=64,
            ),
            "scheduler": getattr(diffusers, scheduler)(
                beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=prediction
            ),
        }
        diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        ).save_pretrained(str(directory))
    return Path(directory)
