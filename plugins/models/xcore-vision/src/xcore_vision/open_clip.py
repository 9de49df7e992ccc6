"""Checkpoints of OpenCLIP (``open_clip_config.json``, ``open_clip_model.safetensors``) as models of transformers.

The vision and text transformers of OpenAI's CLIP are the same networks in both libraries; the tensors have other names.
Other architectures that OpenCLIP knows are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcore.contract import UsageError
from xcore.pretrained.hub import quiet, read_json
from xcore.pretrained.loading import load_tokenizer
from xcore_vision.directories import OPEN_CLIP, OPEN_CLIP_WEIGHTS
from xcore_vision.processor import MODES
from xcore_vision.weights import load_into, read_tensors

VISION_KEYS = ("image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio")
TEXT_KEYS = ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio")
HARMLESS = ("hf_tokenizer_name", "tokenizer_kwargs", "patch_dropout", "hf_model_pretrained")
"""Settings that change nothing in evaluation, or that only say where the tokenizer is."""
RESAMPLE = {name: number for number, name in MODES.items()}
"""Filters -> the numbers that Pillow and transformers give them."""

_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_WHOLE = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
"""OpenCLIP multiplies by these from the right, transformers from the left."""


def open_clip_parts(folder: Path) -> tuple[Any, Any, Any]:
    """Model, tokenizer and image processor of a directory that OpenCLIP wrote.

    Raises
    ------
    MissingError
        No tokenizer can be read.
    UsageError
        The directory is damaged, or its architecture is not that of OpenAI's CLIP.
    """
    from transformers import CLIPConfig, CLIPModel

    path = folder / OPEN_CLIP
    about = read_json(path)
    try:
        with quiet("transformers"), torch.random.fork_rng(devices=[]):
            config = CLIPConfig(**_config(about["model_cfg"], path))
            processor = _processor(about["preprocess_cfg"], config.vision_config.image_size, path)
            model = CLIPModel(config).requires_grad_(False)
    except KeyError as error:
        raise UsageError(f"{path} lacks {error}", "copy it again from the model's page") from error
    where = folder / OPEN_CLIP_WEIGHTS
    load_into(model, dict(renamed(read_tensors(where))), str(where))
    return model, load_tokenizer(folder), processor


def renamed(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of OpenCLIP under their names in transformers; an unknown one keeps its name."""
    for name, tensor in tensors.items():
        tower, _, rest = name.rpartition("transformer.resblocks.")
        if name in _WHOLE:
            yield _WHOLE[name], tensor
        elif name in _TRANSPOSED:
            yield _TRANSPOSED[name], tensor.T.contiguous()
        elif rest and tower in ("", "visual."):
            number, _, part = rest.partition(".")
            module, _, kind = part.rpartition(".")
            layer = f"{'vision' if tower else 'text'}_model.encoder.layers.{number}"
            if part in ("attn.in_proj_weight", "attn.in_proj_bias"):
                for which, third in zip("qkv", tensor.chunk(3), strict=True):
                    yield f"{layer}.self_attn.{which}_proj.{part.rpartition('_')[2]}", third.clone()
            else:
                yield f"{layer}.{_LAYER.get(module, module)}.{kind}", tensor
        elif name != "attn_mask":
            yield name, tensor


def _config(model: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The configuration for transformers of an architecture of OpenCLIP."""
    vision, text = model["vision_cfg"], model["text_cfg"]
    _refuse_others(vision, VISION_KEYS, "vision_cfg", path)
    _refuse_others(text, TEXT_KEYS, "text_cfg", path)
    others = {key: value for key, value in model.items() if key not in ("vision_cfg", "text_cfg")}
    _refuse_others(others, ("embed_dim", "quick_gelu"), "model_cfg", path)
    if not isinstance(vision["layers"], int):
        raise UsageError(f"{path}: {OPEN_CLIP_WEIGHTS} is a ResNet, which is not supported", "name a CLIP with a ViT")
    act = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu"}
    return {
        "projection_dim": model["embed_dim"],
        "vision_config": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "num_hidden_layers": vision["layers"],
            "hidden_size": vision["width"],
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "intermediate_size": int(vision["width"] * vision.get("mlp_ratio", 4.0)),
            **act,
        },
        "text_config": {
            "max_position_embeddings": text.get("context_length", 77),
            "vocab_size": text.get("vocab_size", 49408),
            "num_hidden_layers": text["layers"],
            "hidden_size": text["width"],
            "num_attention_heads": text["heads"],
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4.0)),
            "eos_token_id": 2,  # what transformers takes for "the end of a text is its token of the highest number"
            **act,
        },
    }


def _refuse_others(given: Mapping[str, Any], known: tuple[str, ...], where: str, path: Path) -> None:
    """Raise `UsageError` for a setting that the networks of transformers do not have."""
    for key, value in given.items():
        if key not in (*known, *HARMLESS) and value not in (None, False):
            raise UsageError(
                f"{path}: {where} has {key} = {value!r}, which transformers' CLIP does not have",
                "name a checkpoint that was saved for transformers",
            )


def _processor(about: Mapping[str, Any], side: int, path: Path) -> Any:
    """The image processor that a configuration describes."""
    try:  # by Pillow, as OpenCLIP does; transformers 4 knows one class only
        from transformers import CLIPImageProcessorPil as CLIPImageProcessor
    except ImportError:
        from transformers import CLIPImageProcessor

    mode, name = about.get("resize_mode", "shortest"), about.get("interpolation", "bicubic")
    if mode not in ("shortest", "squash") or name not in RESAMPLE:
        raise UsageError(f"{path}: pictures are resized by {mode!r} and {name!r}, which is not supported")
    return CLIPImageProcessor(
        size={"height": side, "width": side} if mode == "squash" else {"shortest_edge": side},
        crop_size={"height": side, "width": side},
        do_center_crop=mode == "shortest",
        resample=RESAMPLE[name],
        image_mean=list(about["mean"]),
        image_std=list(about["std"]),
    )
