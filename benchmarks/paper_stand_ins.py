"""Stand-ins for the models and photographs of the paper's table: models of the same classes with random weights.

Each is written as its real counterpart is published (`save_pretrained` of diffusers and transformers, safetensors of
torchvision), so that the table runs on them by the same code, and only weights are missing. ``python
benchmarks/paper_stand_ins.py FOLDER`` writes them all, for other commands to use.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from xcore.pretrained.hub import quiet

PICTURES = 24
"""Photographs of each class."""
SIDE = 32
"""Side of the input of the tiny transformers, in pixels."""
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}

Painter = Callable[[np.random.Generator, np.ndarray, np.ndarray], Any]
"""(random generator, x, y) -> colours (height, width, 3) from 0 to 255."""


def make(folder: Path) -> dict[str, Any]:
    """Write whatever is not there yet; the keys of the suite that name the stand-ins instead of the real models."""
    folder.mkdir(parents=True, exist_ok=True)
    makers: Mapping[str, Callable[[Path], object]] = {
        "photographs": photographs,
        "googlenet.safetensors": lambda path: googlenet(path, folder / "photographs"),
        "stable-diffusion": stable_diffusion,
        "clip": clip,
        "blip-vqa": blip_vqa,
        "sam": sam,
    }
    for name, maker in makers.items():
        if not (folder / name).exists():
            unfinished = folder / f"unfinished-{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            with torch.random.fork_rng(), quiet("diffusers", "transformers"):
                torch.manual_seed(0)
                maker(unfinished)
            unfinished.rename(folder / name)
    return {
        "data": f"folder:{folder / 'photographs'}",
        "classifiers": [f"file:{folder / 'googlenet.safetensors'}"],
        "generator": f"diffusion:{folder / 'stable-diffusion'}",
        "models": {
            "image-text": f"clip:{folder / 'clip'}",
            "image-embedder": "torchvision:resnet50",
            "vqa": f"blip-vqa:{folder / 'blip-vqa'}",
            "segmenter": f"sam:{folder / 'sam'}",
        },
    }


# --- photographs ------------------------------------------------------------------------------------------------------
def photographs(folder: Path) -> None:
    """Painted pictures of many sizes: a coat on a blurred ground, in folders with names of ImageNet's classes."""
    coats: dict[str, Painter] = {
        "tiger": lambda rng, x, y: striped(rng, x, y, (225, 130, 40), (30, 20, 15)),
        "n02391049": lambda rng, x, y: striped(rng, x, y, (235, 235, 230), (25, 25, 25)),  # zebra
        "leopard": lambda rng, x, y: spotted(rng, x, y, (215, 170, 90), (40, 25, 15)),
        "brown_bear": lambda rng, x, y: np.full((*x.shape, 3), (110, 75, 45)) + rng.normal(0, 14, (*x.shape, 1)),
        "goldfish": lambda rng, x, y: np.full((*x.shape, 3), (240, 120, 30)) + 40 * np.sin(y / 7)[..., None],
        "Arctic fox": lambda rng, x, y: np.full((*x.shape, 3), (240, 240, 240)) + rng.normal(0, 8, (*x.shape, 1)),
    }
    for i, (name, coat) in enumerate(coats.items()):
        (folder / name).mkdir(parents=True)
        for k in range(PICTURES):
            rng = np.random.default_rng([i, k])
            height, width = rng.integers(180, 320, 2)
            picture(rng, height, width, coat).save(folder / name / f"{k:03}.jpg", quality=92)


def picture(rng: np.random.Generator, height: int, width: int, coat: Painter) -> Image.Image:
    """An ellipse with a coat, on a ground of blurred colours."""
    colours = rng.integers(40, 220, (6, 6, 3)).astype(np.uint8)
    ground = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
    ground = ground.filter(ImageFilter.GaussianBlur(6))
    y, x = np.mgrid[:height, :width].astype(float)
    tall, wide = rng.uniform(0.25, 0.4, 2) * (height, width)
    inside = ((y - height / 2) / tall) ** 2 + ((x - width / 2) / wide) ** 2 < 1
    drawn = np.where(inside[..., None], coat(rng, x, y), np.asarray(ground))
    return Image.fromarray(drawn.clip(0, 255).astype(np.uint8))


def striped(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, light: Any, dark: Any) -> Any:
    """Wavy stripes of two colours."""
    turn, width = rng.uniform(-0.6, 0.6), rng.uniform(4, 8)
    along = x * np.cos(turn) + y * np.sin(turn) + 4 * np.sin(y / 17)
    return np.where(np.sin(along / width)[..., None] > 0, light, dark)


def spotted(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, light: Any, dark: Any) -> Any:
    """Spots of one colour on another."""
    size = rng.uniform(5, 8)
    return np.where((np.sin(x / size) * np.sin(y / size))[..., None] > 0.45, dark, light)


# --- models -----------------------------------------------------------------------------------------------------------
def googlenet(path: Path, pictures: Path) -> None:
    """GoogLeNet of torchvision, as it is, with random weights whose normalisation has seen the photographs."""
    from torchvision import models
    from xcore_vision.file import save_classifier

    from xcore.inputs.images import Framing, read_picture

    weights = models.GoogLeNet_Weights.DEFAULT
    network = models.googlenet(weights=None, init_weights=False, aux_logits=False, transform_input=True)
    mean, std = weights.transforms().mean, weights.transforms().std
    files = sorted(pictures.glob("*/00[0-3].jpg"))
    seen = torch.stack([read_picture(file, Framing((224, 224), 256, "bilinear")) for file in files])
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over what it has seen
    with torch.no_grad():
        network((seen - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1))
    save_classifier(
        path,
        network.eval(),
        architecture="torchvision:googlenet",
        arguments={"aux_logits": False, "transform_input": True},
        classes=weights.meta["categories"],
        input_size=224,
        mean=mean,
        std=std,
    )


def stable_diffusion(folder: Path) -> None:
    """A `StableDiffusionPipeline` that draws 64 x 64 pixels."""
    from xcore_diffusion.testing import save_tiny_pipeline

    save_tiny_pipeline(folder)


def clip(folder: Path) -> None:
    """A `CLIPModel` with its tokenizer and image processor."""
    import transformers

    side = {"height": SIDE, "width": SIDE}
    tokenizer = word_tokenizer("<s>", "</s>", length=16)
    text = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3}
    vision = {**SMALL, "image_size": SIDE, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=side).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def blip_vqa(folder: Path) -> None:
    """A `BlipForQuestionAnswering` with its tokenizer and image processor."""
    import transformers

    tokenizer = word_tokenizer("[DEC]", "[SEP]", length=24)
    text: dict[str, Any] = {**SMALL, "vocab_size": len(tokenizer), "encoder_hidden_size": 16}
    text |= {"max_position_embeddings": 32}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.6}
    vision: dict[str, Any] = {**SMALL, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.5}
    config = transformers.BlipConfig(
        text_config=text, vision_config=vision, projection_dim=8, image_text_hidden_size=16
    )
    transformers.BlipForQuestionAnswering(config).save_pretrained(folder)
    transformers.BlipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def sam(folder: Path) -> None:
    """A `SamModel` with its processor, for pictures of 64 pixels."""
    from xcore_eac.testing import save_sam

    save_sam(folder)


def word_tokenizer(begin: str, end: str, length: int) -> Any:
    """A tokenizer of everyday attributes, word by word, with marks for the beginning and the end."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from xcore.inputs.everyday import EVERYDAY

    words = dict.fromkeys(word for phrase in EVERYDAY for word in phrase.replace("-", " ").split())
    known = {word: i for i, word in enumerate(["[PAD]", "[UNK]", begin, end, *words])}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    marks = [(begin, 2), (end, 3)]
    made.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", special_tokens=marks)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": begin, "eos_token": end, "sep_token": end}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=length, **named)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python benchmarks/paper_stand_ins.py FOLDER")
    make(Path(sys.argv[1]))
    print("\n".join(sorted(str(path) for path in Path(sys.argv[1]).iterdir())))
