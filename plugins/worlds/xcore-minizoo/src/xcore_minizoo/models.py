"""The models of the painted world as components: classifiers, image-text model, image features, oracles, generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcore.contract import MissingError, Samples
from xcore.models.classifiers import TorchClassifier
from xcore_minizoo.labels import FACTORS, ONE_OF
from xcore_minizoo.nets import load_classifier, load_features, load_oracle
from xcore_minizoo.planted import Planted, trained
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.randomised import Randomised, drawn_anew

if TYPE_CHECKING:
    from xcore_minizoo.options import DiffusionOptions

_BATCH = 128


def shipped(name: str) -> Path:
    """The folder of the shipped weights of a model; raises `MissingError` if it is not there."""
    path = WEIGHTS / name
    if not path.is_dir():
        raise MissingError(f"the weights of minizoo/{name} are not installed", "reinstall xcore-minizoo")
    return path


def fit(images: Tensor) -> Tensor:
    """Images of any size as (n, 3, 64, 64), by area averages or bilinear enlargement."""
    if images.shape[-2:] == (64, 64):
        return images
    return F.interpolate(images, (64, 64), mode="bilinear", antialias=True).clamp(0, 1)


def scaled(images: Tensor) -> Tensor:
    """Images of any size in [0, 1] as the networks take them: (n, 3, 64, 64) in [-1, 1]."""
    return fit(images) * 2 - 1


def _classifier(model: nn.Module, config: Mapping[str, Any]) -> TorchClassifier:
    """A network opened at its blocks. Those of a transformer, and its norm, are (n, 65, width), class token first."""
    if config["architecture"].startswith("vit"):
        blocks = [f"blocks.{i}" for i in range(config["settings"]["depth"])]
        layers, default = [*blocks, "norm"], blocks[-1]
    else:
        layers, default = ["act1", "layer1", "layer2", "layer3", "layer4", "global_pool"], "layer3"
    return TorchClassifier(
        model, config["classes"], preprocess=scaled, layers=layers, default_layer=default, input_size=64
    )


def _trained(folder: Path) -> TorchClassifier:
    return _classifier(*load_classifier(folder))


def clean(options: None = None) -> TorchClassifier:
    """The classifier `minizoo/clean` of the clean classes."""
    return _trained(shipped("clean"))


def shortcut(options: None = None) -> TorchClassifier:
    """The classifier `minizoo/shortcut`, which was trained with every cow on grass."""
    return _trained(shipped("shortcut"))


def planted(options: None, argument: str) -> TorchClassifier:
    """The classifier `minizoo/planted:ARGUMENT`; its first use trains it (see `xcore_minizoo.planted`)."""
    return _trained(trained(Planted.parse(argument)))


def randomised(options: None, argument: str) -> TorchClassifier:
    """The classifier `minizoo/randomised:ARGUMENT` (see `xcore_minizoo.randomised`)."""
    wanted = Randomised.parse(argument)
    shipped(wanted.network)  # says so if the weights are not installed
    return _classifier(*drawn_anew(wanted))


def vit(options: None = None) -> TorchClassifier:
    """The vision transformer `minizoo/vit` of the clean classes."""
    return _trained(shipped("vit"))


def vit_cats(options: None = None) -> TorchClassifier:
    """The vision transformer `minizoo/vit-cats`, trained where every cat and no dog is beside an apple."""
    return _trained(shipped("vit-cats"))


def vit_birds(options: None = None) -> TorchClassifier:
    """The vision transformer `minizoo/vit-birds`, trained where most birds are on their own background."""
    return _trained(shipped("vit-birds"))


class Clip:
    """Role image-text: the transformers `CLIPModel` in a directory."""

    name = "minizoo/clip"

    def __init__(self, directory: Path) -> None:
        from transformers import AutoTokenizer, CLIPModel
        from xcore_diffusion.load import quiet

        with quiet():
            model = CLIPModel.from_pretrained(directory, local_files_only=True)
            self._tokens = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        self._model = model.float().eval().requires_grad_(False)

    @torch.no_grad()
    def embed_images(self, images: Samples) -> Tensor:
        """Embeddings (n, 96) of images, not normalised."""
        model = self._model
        parts = [
            model.visual_projection(model.vision_model(pixel_values=scaled(x)).pooler_output)
            for x in images.images.split(_BATCH)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, 96) of texts, not normalised; of each text the first 30 words are read."""
        ids = self._tokens(list(texts), padding="max_length", truncation=True, max_length=32, return_tensors="pt")
        pooled = self._model.text_model(input_ids=ids["input_ids"]).pooler_output
        out: Tensor = self._model.text_projection(pooled)
        return out


def clip(options: None = None) -> Clip:
    """The image-text model `minizoo/clip`."""
    return Clip(shipped("clip"))


class Features:
    """Role image-embedder: the pooled features of a residual network that was trained on factors."""

    name = "minizoo/resnet"

    def __init__(self, directory: Path) -> None:
        self._model = load_features(directory)

    @torch.no_grad()
    def embed(self, samples: Samples) -> Tensor:
        """Features (n, 96), none of them negative, not normalised."""
        return torch.cat([self._model(scaled(x)) for x in samples.images.split(_BATCH)])


def resnet(options: None = None) -> Features:
    """The image embedder `minizoo/resnet`."""
    return Features(shipped("resnet"))


class Reader:
    """Role factor-oracle: the probability of each value of each factor."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._oracle = load_oracle(directory)

    def factors(self, images: Samples) -> Mapping[str, Mapping[str, Tensor]]:
        """Factor -> value -> probabilities (n,).

        The colours are judged independently of one another; the value "none" means that none of them is there.
        """
        probs = self._oracle.read(fit(images.images))
        out = {f: {v: probs[f][:, i] for i, v in enumerate(FACTORS[f])} for f in ONE_OF}
        colours = probs["colours"]
        held = {c: colours[:, i] for i, c in enumerate(FACTORS["colours"])}
        return {**out, "colour": {"none": (1 - colours).prod(1), **held}}


def oracle_a(options: None = None) -> Reader:
    """The factor oracle `minizoo/oracle-a`, which judges by default."""
    return Reader("minizoo/oracle-a", shipped("oracle-a"))


def oracle_b(options: None = None) -> Reader:
    """The factor oracle `minizoo/oracle-b`, of another architecture and another seed."""
    return Reader("minizoo/oracle-b", shipped("oracle-b"))


def diffusion(options: DiffusionOptions) -> Any:
    """The text-to-image generator `minizoo/diffusion`, which xcore-diffusion runs and adapts."""
    from xcore_diffusion.generator import from_directory

    return from_directory(options, str(shipped("diffusion")))
