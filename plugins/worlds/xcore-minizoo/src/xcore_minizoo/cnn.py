"""The small residual network of the classifiers and of the image features: a timm ResNet that keeps maps of 8 x 8."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

ARCHITECTURE = "resnet18"
SETTINGS: dict[str, Any] = {
    "layers": (1, 1, 1, 1),
    "channels": (24, 48, 64, 96),
    "stem_type": "deep",
    "stem_width": 12,
    "output_stride": 8,
}


def build(outputs: int, architecture: str = ARCHITECTURE, **settings: Any) -> nn.Module:
    """An untrained network with this number of outputs; without `settings` it is the small ResNet."""
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in (settings or SETTINGS).items()}
    model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=outputs, **kwargs)
    return model
