"""The vision transformers as components of xcore."""

from __future__ import annotations

from xcore.classifier import TorchClassifier
from xcore_minizoo.models import _folder, _scaled
from xcore_minizoo.nets import load_classifier


def _classifier(name: str) -> TorchClassifier:
    """Layers are the blocks and the norm after them: (n, 65, width), the class token first."""
    model, config = load_classifier(_folder(name))
    blocks = [f"blocks.{i}" for i in range(config["settings"]["depth"])]
    return TorchClassifier(
        model,
        config["classes"],
        preprocess=_scaled,
        layers=[*blocks, "norm"],
        default_layer=blocks[-1],
        input_size=64,
    )


def vit(options: None = None) -> TorchClassifier:
    """The classifier of the clean classes."""
    return _classifier("vit")


def vit_cats(options: None = None) -> TorchClassifier:
    """The classifier that has seen every cat with an apple and no dog with one."""
    return _classifier("vit-cats")


def vit_birds(options: None = None) -> TorchClassifier:
    """The classifier that has seen most birds on their own background."""
    return _classifier("vit-birds")
