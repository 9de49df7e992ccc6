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

from xcore.errors import MissingError, UsageError
from xcore.guard import seeded
from xcore.store import write_json

Mode = Literal["tokenwise", "flatten_bottleneck"]
WEIGHTS, CONFIG = "translator.safetensors", "config.json"
BOTTLENECK = 256


class Translator(nn.Module):
    """Three linear maps without a non-linearity (methods: TExplain): their composition is one affine map.

    Features are shifted and scaled by fixed numbers first, found on the training pairs, which keeps the map affine.

    Parameters
    ----------
    mode
        "tokenwise": the same maps at every position, P states from P positions. "flatten_bottleneck": all positions at
        once, through a bottleneck, to `tokens` states.
    positions, features
        P and D of the features (n, P, D).
    tokens, width
        States for the decoder; `tokens` counts for "flatten_bottleneck" alone.
    hidden
        Width between the maps; None = the larger of D and `width`, or 256.
    seed
        Of the first weights.
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
        """States (n, T, width) from features (n, P, D)."""
        if z.ndim != 3 or z.shape[-1] != self.features or (self.mode != "tokenwise" and z.shape[1] != self.positions):
            raise UsageError(
                f"the layer gives {z.shape[1]} positions of width {z.shape[-1]}, "
                f"the translator takes {self.positions} of width {self.features}",
                "train a translator for this layer, or name the layer that it was trained at",
            )
        standard = (z - self.mean) / self.scale
        if self.mode == "tokenwise":
            states: Tensor = self.maps(standard)
        else:
            states = self.maps(standard.flatten(1)).unflatten(1, (self.tokens, self.width))
        return states

    def fused(self) -> nn.Linear:
        """The one linear layer that does the same: of one position ("tokenwise") or of all of them, flattened."""
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
        """What the constructor needs."""
        kept = ("mode", "positions", "features", "tokens", "width", "hidden")
        return {name: getattr(self, name) for name in kept}

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the weights and what is known of them."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous().cpu() for k, v in self.state_dict().items()}, folder / WEIGHTS)
        (folder / WEIGHTS).chmod(0o644)  # as every other file here; safetensors lets nobody else read
        write_json(folder / CONFIG, {**self.config, **about})


def load_translator(folder: Path) -> tuple[Translator, dict[str, Any]]:
    """A translator that was saved, frozen, and its config.

    Raises
    ------
    MissingError, UsageError
        There is none in this folder, or it is damaged.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise MissingError(f"no translator in {str(folder)!r}", "make one with `xcore texplain train --out DIR`")
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kept = ("mode", "positions", "features", "tokens", "width", "hidden")
        made = Translator(**{name: about[name] for name in kept})
        made.load_state_dict(load_file(folder / WEIGHTS))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"the translator in {str(folder)!r} is damaged: {str(error).splitlines()[0]}") from error
    return made.eval().requires_grad_(False), about
