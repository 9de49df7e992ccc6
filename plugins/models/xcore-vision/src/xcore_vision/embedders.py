"""Image embedders ``timm:MODEL``, ``torchvision:MODEL``, ``hf:MODEL``: what a network's classification head reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xcore.contract import Samples, UsageError
from xcore.inputs.images import Framing, framed
from xcore.models.device import current
from xcore.pretrained.hub import read_json
from xcore.pretrained.loading import load_model
from xcore_vision.clip import KINDS
from xcore_vision.directories import image_model_directory, model_type
from xcore_vision.options import EmbedderOptions, HubOptions
from xcore_vision.preprocessing import Preprocessing
from xcore_vision.processor import OwnProcessor, load_image_processor
from xcore_vision.zoo import (
    bare_timm,
    bare_torchvision,
    load_checkpoint,
    published_timm,
    published_torchvision,
    refuse_weights,
    timm_preprocessing,
    torchvision_preprocessing,
    torchvision_weights,
)

Prepare = Callable[[Tensor], Iterator[Tensor]]
"""Images (n, 3, H, W) in [0, 1] -> batches of the network's input."""


class Embedder:
    """Role ``image-embedder``: pooled features of an image network, not normalised.

    Parameters
    ----------
    name
        How results call it.
    module
        Gives features (b, d) for a batch.
    prepare
        Makes the batches.
    device
        The device to run on; None = the one that ``--device`` names.
    """

    def __init__(self, name: str, module: nn.Module, prepare: Prepare, device: str | None) -> None:
        self.name = name
        self._device = torch.device(device or current())
        self._module = module.eval().requires_grad_(False).to(self._device)
        self._prepare = prepare

    @torch.no_grad()
    def embed(self, samples: Samples) -> Tensor:
        """Features (n, d) of images."""
        return torch.cat([self._features(x.to(self._device)) for x in self._prepare(samples.images)])

    def _features(self, x: Tensor) -> Tensor:
        features: Tensor = self._module(x)
        if features.ndim != 2:
            raise UsageError(
                f"{self.name} gives features of shape {tuple(features.shape)}, not one row for each image",
                "name a network that pools its features",
            )
        return features.float().cpu()


def timm_embedder(options: EmbedderOptions, model: str) -> Embedder:
    """``timm:MODEL``: the features that the classification head of a model of timm reads.

    Raises
    ------
    UsageError
        timm has no such model, or options do not fit it.
    MissingError
        Published weights are asked for and cannot be had.
    """
    refuse_weights(options.weights, model)
    if options.pretrained and options.checkpoint is None:
        module = published_timm(model, "image-embedder", num_classes=0)
    else:
        module = bare_timm(model, {"num_classes": 0}, options.seed)
        config: Any = module.pretrained_cfg
        heads = config.get("classifier") or ()
        load_checkpoint(module, options.checkpoint, without=(heads,) if isinstance(heads, str) else heads)
    name = _named(f"timm:{model}", options)
    return Embedder(name, module, _framing(timm_preprocessing(module), options.batch_size), options.device)


def torchvision_embedder(options: EmbedderOptions, model: str) -> Embedder:
    """``torchvision:MODEL``: the features that the last linear layer of a model of torchvision reads; raises as above.

    ResNet-50 has two sets of weights, whose features differ much: IMAGENET1K_V2 (the default) and IMAGENET1K_V1. The
    set is part of the name that tables show.
    """
    weights = torchvision_weights(model, options.weights)
    published = options.pretrained and options.checkpoint is None
    if published:
        module = published_torchvision(model, weights, "image-embedder")
    else:
        module = bare_torchvision(model, {}, options.seed)
    head = _last_linear(module, f"torchvision:{model}")
    module.set_submodule(head, nn.Identity())
    if not published:
        load_checkpoint(module, options.checkpoint, without=(head,))
    name = _named(f"torchvision:{model}", options, f" ({weights.name})")
    return Embedder(name, module, _framing(torchvision_preprocessing(weights), options.batch_size), options.device)


def hf_embedder(options: HubOptions, argument: str) -> Embedder:
    """``hf:MODEL``: pooled features of an image model of transformers, from a directory or the Hub.

    Of a classifier: what its classification head reads. Of another model: its pooler's output where the checkpoint has
    weights for a pooler or the pooler has none; else the class token.

    Raises
    ------
    MissingError
        There is no such model, or a file of it is missing.
    UsageError
        The directory is damaged, or holds no model that embeds single images.
    """
    folder = image_model_directory(argument)
    if (kind := model_type(folder)) in KINDS:
        raise UsageError(f"{argument!r} is an image-text model, {kind}", f"write clip:{argument}")
    processor = OwnProcessor(load_image_processor(folder), options.batch_size)
    made = read_json(folder / "config.json").get("architectures") or []
    classifies = any("ForImageClassification" in name for name in made)
    module = _before_head(folder) if classifies else _pooled(folder)

    def prepare(images: Tensor) -> Iterator[Tensor]:
        return (x["pixel_values"] for x in processor.batches(images, torch.device("cpu")))

    return Embedder(f"hf:{argument}", module, prepare, options.device)


class _Logits(nn.Module):
    """What a classifier of transformers gives as logits, alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=x).logits
        return logits.flatten(1)


class _Pooler(nn.Module):
    """The pooler's output of a model of transformers, or its class token."""

    def __init__(self, model: nn.Module, token: bool) -> None:
        super().__init__()
        self.model, self.token = model, token

    def forward(self, x: Tensor) -> Tensor:
        output = self.model(pixel_values=x)
        pooled = None if self.token else getattr(output, "pooler_output", None)
        if pooled is None:
            states: Tensor = output.last_hidden_state
            pooled = states[:, 0] if states.ndim == 3 else states.mean((2, 3))
        return pooled.flatten(1)


def _before_head(folder: Path) -> nn.Module:
    from transformers import AutoModelForImageClassification

    model = load_model(AutoModelForImageClassification, folder, "image classifier")
    width = int(model.config.num_labels)
    heads = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == width]
    heads = [name for name in heads if "classifier" in name or name == heads[-1]]  # DeiT has two of them
    if not heads:
        raise UsageError(f"{str(folder)!r}: its classification head is no linear layer", "name another model")
    for name in heads:
        model.set_submodule(name, nn.Identity())
    return _Logits(model)


def _pooled(folder: Path) -> nn.Module:
    from transformers import AutoModel

    try:
        return _Pooler(load_model(AutoModel, folder, "image model"), token=False)
    except UsageError:  # many checkpoints lack the weights of the pooler, which was not trained
        return _Pooler(load_model(AutoModel, folder, "image model", unused="pooler."), token=True)


def _framing(preprocessing: Preprocessing, batch: int) -> Prepare:
    """Frames pictures as the model's own pipeline does, on pixels of 8 bits, unless they have the input's size."""
    framing: Framing = preprocessing.framing

    def prepare(images: Tensor) -> Iterator[Tensor]:
        for x in images.split(batch):
            yield preprocessing(x if tuple(x.shape[-2:]) == framing.size else framed(x, framing))

    return prepare


def _last_linear(module: nn.Module, what: str) -> str:
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise UsageError(f"{what} does not end in a linear layer, so it has no pooled features", "name another model")
    return str(linear[-1])


def _named(name: str, options: EmbedderOptions, published: str = "") -> str:
    """The name with what its weights are, so that nobody takes random weights for published ones."""
    if options.checkpoint is not None:
        return f"{name} ({options.checkpoint})"
    return name + published if options.pretrained else f"{name} (random weights)"
