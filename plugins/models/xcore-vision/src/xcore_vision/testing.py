"""Tiny random image-text models, saved as real ones: stand-ins where the published weights are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LENGTH = 12
"""Tokens that the text encoders read."""
TEXT = {
    **SMALL,
    "vocab_size": 100,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 98,
    "eos_token_id": 99,
    "pad_token_id": 0,
}


def words() -> Any:
    """A tokenizer of a few words with marks for the beginning and the end."""
    known = {w: i + 2 for i, w in enumerate(["a", "red", "striped", "coat", "of", "zebra"])}
    vocabulary = {"<pad>": 0, "<unk>": 1, **known, "<s>": 98, "</s>": 99}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("<s>", 98), ("</s>", 99)]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    about = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LENGTH, **about)


def save_clip(folder: Path, kind: str = "clip") -> Any:
    """Save a random model of 32 x 32 pixels with its image processor and tokenizer.

    Parameters
    ----------
    folder
        Where to.
    kind
        "clip", "metaclip_2", "siglip" or "siglip2".

    Returns
    -------
    The model, in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = _make(kind)
    for part in (model, processor, words()):
        part.save_pretrained(folder)
    return model.eval()


def _make(kind: str) -> tuple[Any, Any]:
    vision: dict[str, int] = {**SMALL, "image_size": 32, "patch_size": 8}
    side = {"height": 32, "width": 32}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=10)
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side)
        return transformers.CLIPModel(config), processor
    if kind == "metaclip_2":
        config = transformers.MetaClip2Config(text_config=TEXT, vision_config=vision, projection_dim=10)
        processor = transformers.CLIPImageProcessor(size=side, do_center_crop=False)
        return transformers.MetaClip2Model(config), processor
    if kind == "siglip":
        config = transformers.SiglipConfig(text_config=TEXT, vision_config=vision)
        return transformers.SiglipModel(config), transformers.SiglipImageProcessor(size=side)
    patches: dict[str, int] = {**SMALL, "num_patches": 16, "patch_size": 8}
    config = transformers.Siglip2Config(text_config=TEXT, vision_config=patches)
    return transformers.Siglip2Model(config), transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
