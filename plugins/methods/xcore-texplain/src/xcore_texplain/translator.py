"""The translator: linear maps from a classifier's features to the states that a language model reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xcore.contract import MissingError, UsageError, seeded
from xcore.session import write_json

Mode = Literal["tokenwise", "flatten_bottleneck"]
WEIGHTS, CONFIG = "translator.safetensors", "config.json"
BOTTLENECK = 256
"""Width between the maps of "flatten_bottleneck", if none is given."""
CONFIG_KEYS = ("mode", "positions", "features", "tokens", "width", "hidden")
"""What the constructor needs and the file of a translator holds."""


class Translator(nn.Module):
    """Three linear maps without a non-linearity between them, so that together they are one affine map.

    Before the maps, features are shifted and scaled by fixed numbers that are measured on the training pairs, which
    keeps the whole map affine.

    Parameters
    ----------
    mode
        "tokenwise": the same maps at every position, which give P states. "flatten_bottleneck": the maps take all
        positions at once, through a bottleneck, to `tokens` states.
    positions, features
        P and D of the features (n, P, D).
    tokens
        Number of states, T; only "flatten_bottleneck" uses it.
    width
        Width of a state.
    hidden
        Width between the maps; None means the larger of D and `width`, or 256 for "flatten_bottleneck".
    seed
        Seed of the initial weights.

    References
    ----------
    Taghanaki et al., TExplain, 2023: the translator between the frozen encoder and the frozen language model.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, mode: Mode, positions: int, features: int, tokens: int, width: int, hidden: int | None, seed: int = 0
    ) -> None:
        super().__init__()
        flat = mode == "flatten_bottleneck"
        self.hidden = hidden or (BOTTLENECK if flat else max(features, width))
        self.mode, self.positions, self.features = mode, positions, features
        self.tokens, self.width = tokens if flat else positions, width
        ends = (positions * features, tokens * width) if flat else (features, width)
        with seeded(seed):
            self.maps = nn.Sequential(
                nn.Linear(ends[0], self.hidden), nn.Linear(self.hidden, self.hidden), nn.Linear(self.hidden, ends[1])
            )
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, z: Tensor) -> Tensor:
        """States (n, T, width) of features (n, P, D); raises `UsageError` if the features have another shape."""
        if z.ndim != 3 or z.shape[-1] != self.features or (self.mode != "tokenwise" and z.shape[1] != self.positions):
            raise UsageError(
                f"the layer gives {z.shape[1]} positions of width {z.shape[-1]}, "
                f"but the translator takes {self.positions} of width {self.features}",
                "train a translator for this layer, or name the layer that it was trained for",
            )
        standard = (z - self.mean) / self.scale
        if self.mode == "tokenwise":
            states: Tensor = self.maps(standard)
        else:
            states = self.maps(standard.flatten(1)).unflatten(1, (self.tokens, self.width))
        return states

    def fused(self) -> nn.Linear:
        """One linear layer that computes the same: of one position ("tokenwise"), or of all of them flattened."""
        repeat = 1 if self.mode == "tokenwise" else self.positions
        scale = self.scale.double().repeat(repeat)
        bias = -self.mean.double().repeat(repeat) / scale
        weight: Tensor | None = None
        for one in (m for m in self.maps if isinstance(m, nn.Linear)):
            weight = one.weight.double() / scale if weight is None else one.weight.double() @ weight
            bias = one.weight.double() @ bias + one.bias.double()
        assert weight is not None
        fused = nn.Linear(weight.shape[1], weight.shape[0], device="meta").to_empty(device="cpu")
        with torch.no_grad():
            fused.weight.copy_(weight)
            fused.bias.copy_(bias)
        return fused

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, without the seed."""
        return {name: getattr(self, name) for name in CONFIG_KEYS}

    def save(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write the weights, and a configuration file that holds the metadata too."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous().cpu() for k, v in self.state_dict().items()}, folder / WEIGHTS)
        (folder / WEIGHTS).chmod(0o644)  # like every other file here: safetensors makes it readable by its owner only
        write_json(folder / CONFIG, {**self.config, **metadata})


def load_translator(folder: Path) -> tuple[Translator, dict[str, Any]]:
    """Load a translator that was saved: the frozen module, and what its configuration file says.

    Raises
    ------
    MissingError
        There is no translator in this folder.
    UsageError
        Its files are damaged.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise MissingError(
            f"there is no translator in {str(folder)!r}", "train one with `xcore texplain train --out DIR`"
        )
    try:
        metadata = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        made = Translator(**{name: metadata[name] for name in CONFIG_KEYS})
        made.load_state_dict(load_file(folder / WEIGHTS))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UsageError(
            f"the translator in {str(folder)!r} is damaged: {str(error).splitlines()[0]}", "train it again"
        ) from error
    return made.eval().requires_grad_(False), metadata


def translate(translator: Translator, z: Tensor) -> Tensor:
    """States (n, T, width) of features (n, P, D), without gradients."""
    with torch.no_grad():
        states: Tensor = translator(z)
    return states
