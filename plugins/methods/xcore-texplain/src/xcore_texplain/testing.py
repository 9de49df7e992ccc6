"""Small decoders for tests: with random weights, or trained for some seconds to say what states mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from xcore.contract import seeded
from xcore.pretrained.hub import quiet

SMALL: dict[str, Any] = {
    "steps": 4, "every": 2, "batch": 4, "validation": 4, "sentences": 6, "prior_images": 4, "prior_sentences": 10,
    "bootstrap": 50, "k": 5,
}  # fmt: skip
"""Options with which `texplain` takes about a second."""
WORDS = ("zebra", "stripe", "blob", "grass", "soft", "red", "blue", "line")
"""Vocabulary of the decoder that `save_decoder_and_pairs` writes."""
SPECIAL = ("[PAD]", "[DEC]", "[UNK]", "[SEP]")


def word_tokenizer(words: Sequence[str], length: int = 40) -> Any:
    """A tokenizer of transformers whose tokens are these words, in lower case."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {word: i for i, word in enumerate([*SPECIAL, *dict.fromkeys(words)])}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        bos_token="[DEC]",
        unk_token="[UNK]",
        eos_token="[SEP]",
        sep_token="[SEP]",
        model_max_length=length,
    )


def save_blip(folder: Path, words: Sequence[str], *, width: int = 32, states: int = 24, layers: int = 2, seed: int = 0,
              length: int = 40, decoder: bool = True) -> Path:  # fmt: skip
    """Save a BLIP captioner with random weights; its text decoder has this width and reads states of width `states`."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    tokenizer = word_tokenizer(words, length)
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers,
        "num_attention_heads": 4, "max_position_embeddings": length, "encoder_hidden_size": states, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 3, "sep_token_id": 3, "is_decoder": decoder, "initializer_range": 0.1,
    }  # fmt: skip
    vision = {"hidden_size": states, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 16, "patch_size": 8}  # fmt: skip
    with seeded(seed), quiet("transformers"):
        config = BlipConfig(text_config=text, vision_config=vision, projection_dim=8, image_text_hidden_size=states)
        BlipForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def save_causal(folder: Path, words: Sequence[str], *, width: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Save a causal language model of this width with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = word_tokenizer(words, 64)
    with seeded(seed), quiet("transformers"):
        config = GPT2Config(
            vocab_size=len(tokenizer), n_embd=width, n_layer=layers, n_head=4, n_positions=64, bos_token_id=1,
            eos_token_id=3, initializer_range=0.1,
        )  # fmt: skip
        GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def teach(decoder: Any, states: torch.Tensor, texts: Sequence[str], steps: int, lr: float = 3e-3) -> float:
    """Train the decoder itself to say these texts about these states, and freeze it again; returns the last loss."""
    model = decoder.model.requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    value = float("nan")
    for step in range(steps):
        rows = torch.randperm(len(texts), generator=torch.Generator().manual_seed(step))[:32]
        loss = decoder.loss(states[rows], [texts[i] for i in rows]).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        value = float(loss.detach())
    model.zero_grad()
    model.requires_grad_(False)
    return value


def save_decoder_and_pairs(folder: Path) -> Path:
    """Save a small decoder in ``blip``, and 16 pictures of stripes and blobs with their ``captions.jsonl``."""
    from PIL import Image

    from xcore.testing import blobs, stripes

    save_blip(folder / "blip", WORDS, layers=1, states=16)
    rows = []
    for name, samples in (("stripe", stripes(8, 11)), ("blob", blobs(8, 12))):
        (folder / name).mkdir()
        for i, image in enumerate(samples.images):
            Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(folder / name / f"{i}.png")
            rows.append({"image": f"{name}/{i}.png", "caption": f"{name} line"})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def save_plugin(folder: Path, cls: str) -> Path:
    """Write a plugin file with the classifier `tiny` and the data set `shop`: a class of stripes, and blobs besides."""
    file = folder / "shop.py"
    file.write_text(
        "from xcore import hookimpl\n"
        "@hookimpl\n"
        "def register_datasets(register):\n"
        "    register('shop', lambda o: data(), summary='stripes')\n"
        "@hookimpl\n"
        "def register_classifiers(register):\n"
        "    register('tiny', lambda o: model(), summary='tiny')\n"
        "def data():\n"
        "    from xcore.run.live import LiveData\n"
        "    from xcore.testing import blobs, stripes\n"
        f"    return LiveData(stripes(4, 1), {cls!r}, blobs(20, 2), ())\n"
        "def model():\n"
        "    from xcore.models.classifiers import TorchClassifier\n"
        "    from xcore.testing import tiny_network\n"
        f"    return TorchClassifier(tiny_network(), ({cls!r}, 'contrast', 'other'))\n"
    )
    return file
