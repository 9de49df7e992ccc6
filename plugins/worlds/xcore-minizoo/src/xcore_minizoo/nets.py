"""Load trained networks from their folders (config.json, model.safetensors); they compute in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from xcore_minizoo.cnn import build
from xcore_minizoo.oracle import Oracle


def _fill(model: nn.Module, directory: Path) -> None:
    state = load_file(str(directory / "model.safetensors"))
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    model.eval().requires_grad_(False)


def load_classifier(directory: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A classifier of images (n, 3, 64, 64) in [-1, 1], and its config: architecture, settings, classes, planted."""
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    model = build(len(config["classes"]), config["architecture"], **config["settings"])
    _fill(model, directory)
    return model, config


def load_features(directory: Path) -> nn.Module:
    """The network of the image features, without a head: images (n, 3, 64, 64) in [-1, 1] -> (n, 96)."""
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    model = build(0, config["architecture"], **config["settings"])
    _fill(model, directory)
    return model


def load_oracle(directory: Path) -> Oracle:
    """A factor oracle of images (n, 3, 64, 64) in [0, 1]."""
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    model = Oracle(**config)
    _fill(model, directory)
    return model
