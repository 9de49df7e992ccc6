"""The shipped models as components of xcore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.classifier import TorchClassifier
from xcore.errors import MissingError
from xcore.types import Samples
from xcore_minizoo.labels import ONE_OF
from xcore_minizoo.nets import load_classifier, load_features, load_oracle
from xcore_minizoo.plugin import WEIGHTS

if TYPE_CHECKING:
    from xcore_minizoo.options import DiffusionOptions

_BATCH = 128


def _folder(name: str) -> Path:
    path = WEIGHTS / name
    if not path.is_dir():
        raise MissingError(f"the weights of minizoo/{name} are not installed", "reinstall xcore-minizoo")
    return path


def fit(images: Tensor) -> Tensor:
    """Images of any size as (n, 3, 64, 64), by area averages or bilinear enlargement."""
    if images.shape[-2:] == (64, 64):
        return images
    return F.interpolate(images, (64, 64), mode="bilinear", antialias=True).clamp(0, 1)


def _scaled(images: Tensor) -> Tensor:
    return fit(images) * 2 - 1


def _classifier(name: str) -> TorchClassifier:
    model, config = load_classifier(_folder(name))
    layers = ["act1", "layer1", "layer2", "layer3", "layer4", "global_pool"]
    return TorchClassifier(
        model, config["classes"], preprocess=_scaled, layers=layers, default_layer="layer3", input_size=64
    )


def clean(options: None = None) -> TorchClassifier:
    """The classifier of the clean classes."""
    return _classifier("clean")


def shortcut(options: None = None) -> TorchClassifier:
    """The classifier that has seen every cow on grass."""
    return _classifier("shortcut")


class Clip:
    """Role image-text: the transformers CLIPModel in a directory."""

    name = "minizoo/clip"

    def __init__(self, directory: Path) -> None:
        from transformers import AutoTokenizer, CLIPModel
        from xcore_diffusion.load import quiet

        with quiet():
            model = CLIPModel.from_pretrained(directory, local_files_only=True)
            self._tokens = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self._model = model.float().eval().requires_grad_(False)

    @torch.no_grad()
    def embed_images(self, images: Samples) -> Tensor:
        """(n, 96), not normalised."""
        model = self._model
        parts = [
            model.visual_projection(model.vision_model(pixel_values=_scaled(x)).pooler_output)
            for x in images.images.split(_BATCH)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(n, 96), not normalised; texts are cut after 30 words."""
        ids = self._tokens(list(texts), padding="max_length", truncation=True, max_length=32, return_tensors="pt")
        pooled = self._model.text_model(input_ids=ids["input_ids"]).pooler_output
        out: Tensor = self._model.text_projection(pooled)
        return out


def clip(options: None = None) -> Clip:
    """The image-text model."""
    return Clip(_folder("clip"))


class Features:
    """Role image-embedder: pooled features of the residual network trained on factors."""

    name = "minizoo/resnet"

    def __init__(self, directory: Path) -> None:
        self._model = load_features(directory)

    @torch.no_grad()
    def embed(self, samples: Samples) -> Tensor:
        """(n, 96), not normalised, not negative."""
        return torch.cat([self._model(_scaled(x)) for x in samples.images.split(_BATCH)])


def resnet(options: None = None) -> Features:
    """The image features."""
    return Features(_folder("resnet"))


class Reader:
    """Role factor-oracle: probabilities of every value of every factor."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._oracle = load_oracle(directory)

    def factors(self, images: Samples) -> Mapping[str, Mapping[str, Tensor]]:
        """factor -> value -> (n,). Colours are independent of one another; their "none" is that none is there."""
        from xcore_minizoo.labels import FACTORS

        probs = self._oracle.read(fit(images.images))
        out = {f: {v: probs[f][:, i] for i, v in enumerate(FACTORS[f])} for f in ONE_OF}
        colours = probs["colours"]
        held = {c: colours[:, i] for i, c in enumerate(FACTORS["colours"])}
        return {**out, "colour": {"none": (1 - colours).prod(1), **held}}


def oracle_a(options: None = None) -> Reader:
    """The judging oracle."""
    return Reader("minizoo/oracle-a", _folder("oracle-a"))


def oracle_b(options: None = None) -> Reader:
    """The second oracle, of another architecture and seed."""
    return Reader("minizoo/oracle-b", _folder("oracle-b"))


def diffusion(options: DiffusionOptions) -> Any:
    """The text-to-image pipeline, drawn and adapted by xcore-diffusion."""
    from xcore_diffusion.generator import from_directory

    return from_directory(options, str(_folder("diffusion")))
