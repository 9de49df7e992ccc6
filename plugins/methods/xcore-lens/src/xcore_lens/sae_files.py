"""Sparse autoencoders in files: our own, and published ones with the usual names of tensors. Nothing is unpickled.

A folder holds the weights in safetensors, by these names (C channels, K atoms):

- ``W_enc`` (C, K), ``b_enc`` (K,), ``W_dec`` (K, C) and ``b_dec`` (C,): codes = f((a - b_dec) W_enc + b_enc), and the
  activations are rebuilt as codes W_dec + b_dec;
- ``threshold`` (K,) or (): codes below it are 0; of jumprelu and batch-topk.

Beside them, ``config.json`` or ``cfg.json`` says the kind (``architecture``: standard, topk, batchtopk, jumprelu) and,
for topk, how many atoms are active (``k``), as SAELens writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xcore.contract import MissingError, UsageError
from xcore.pretrained.hub import read_json
from xcore_lens.sae_folder import CONFIG, WEIGHTS, config_file, lacking, weights_file
from xcore_lens.saes import Kind, Sae, Spread

KINDS: dict[str, Kind] = {
    "relu": "relu",
    "standard": "relu",
    "topk": "topk",
    "batchtopk": "batch-topk",
    "jumprelu": "jumprelu",
    "archetypal": "archetypal",
}
"""What files call the kinds, in small letters without hyphens and underscores."""
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
FORM = "W_enc (C, K), b_enc (K,), W_dec (K, C) and b_dec (C,)"


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained sparse autoencoder, in the unit of the activations and with atoms of length 1."""

    kind: Kind
    encoder: Tensor
    """(C, K)"""
    bias: Tensor
    """(K,)"""
    atoms: Tensor
    """(K, C)"""
    centre: Tensor
    """(C,): the activations whose codes rebuild nothing."""
    threshold: Tensor | None = None
    """(K,): codes below it are 0."""
    active: int | None = None
    """Codes that are kept at a position; None = all that reach the threshold."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the configuration says beside that."""

    @property
    def state(self) -> dict[str, Tensor]:
        """For `Dictionary.state`, by which `xcore.models.codes` finds codes."""
        made = {"encoder": self.encoder, "bias": self.bias, "centre": self.centre}
        if self.threshold is not None:
            made["threshold"] = self.threshold
        if self.active is not None:
            made["top_k"] = torch.tensor(float(self.active))
        return made


def weights_of(sae: Sae, spread: Spread, about: Mapping[str, Any]) -> Weights:
    """A trained autoencoder of centred rows as one of activations, whose codes have their unit: `scale` times those."""
    with torch.no_grad():
        threshold = sae.thresholds()
        return Weights(
            sae.settings.kind,
            sae.encoder.detach(),
            sae.bias.detach() * spread.scale,
            sae.atoms().detach(),
            spread.centre,
            None if threshold is None else threshold.expand(len(sae.bias)) * spread.scale,
            sae.settings.active if sae.settings.kind in ("topk", "archetypal") else None,
            about,
        )


def save(weights: Weights, folder: Path) -> None:
    """Write a sparse autoencoder as `load` reads it."""
    tensors = {"W_enc": weights.encoder, "b_enc": weights.bias, "W_dec": weights.atoms, "b_dec": weights.centre}
    if weights.threshold is not None:
        tensors["threshold"] = weights.threshold
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().float().contiguous().clone() for name, value in tensors.items()}, folder / WEIGHTS)
    config = {"architecture": weights.kind, **({"k": weights.active} if weights.active else {}), **weights.about}
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> Weights:
    """Read a sparse autoencoder.

    Raises
    ------
    MissingError
        A file or a tensor is missing.
    UsageError
        A tensor has a wrong shape, or the configuration names something that is not supported.
    """
    if missing := lacking(folder):
        raise MissingError(
            f"the folder {str(folder)!r} of a sparse autoencoder lacks {missing}", f"its weights are {FORM}"
        )
    path, config_path = weights_file(folder), config_file(folder)
    assert path is not None
    assert config_path is not None
    config = read_json(config_path)
    kind, active = _kind(config, config_path), _active(config, config_path)
    tensors = _tensors(path)
    _check_shapes(tensors, path)
    encoder, bias, atoms, centre = (tensors[name] for name in NAMES)
    if config.get("apply_b_dec_to_input") is False:  # then the encoder reads a, not a - b_dec
        bias = bias + centre @ encoder
    ranked, gated = kind in ("topk", "archetypal"), kind in ("jumprelu", "batch-topk")
    threshold = tensors.get("threshold")
    if gated and threshold is None:
        raise MissingError(f"{str(path)!r} lacks threshold, by which a {kind} autoencoder finds its codes", FORM)
    if ranked and active is None:
        raise MissingError(f"{str(config_path)!r} does not say k, how many atoms are active", 'write "k": 32 into it')
    scale = atoms.norm(dim=1)
    if ranked or float((scale - 1).abs().max()) < 1e-3:
        scale = torch.ones_like(scale)  # they are of length 1; of topk, codes in another unit would be ranked otherwise
    return Weights(
        kind,
        encoder * scale,
        bias * scale,
        atoms / scale.clamp_min(1e-12)[:, None],
        centre,
        threshold * scale if gated and threshold is not None else None,
        active if ranked else None,
        {key: value for key, value in config.items() if key not in ("architecture", "k")},
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            found = {name: file.get_tensor(name).float() for name in (*NAMES, "threshold") if name in names}
    except SafetensorError as error:
        raise UsageError(f"{str(path)!r} is no safetensors file: {error}", "download or copy it again") from error
    if missing := [name for name in NAMES if name not in found]:
        raise MissingError(
            f"{str(path)!r} lacks {', '.join(missing)}; it has {', '.join(sorted(names)[:8])}",
            f"a sparse autoencoder needs {FORM}",
        )
    return found


def _check_shapes(tensors: Mapping[str, Tensor], path: Path) -> None:
    atoms = tensors["W_dec"]
    k, channels = atoms.shape if atoms.ndim == 2 else (0, 0)
    wanted: dict[str, list[tuple[int, ...]]] = {
        "W_enc": [(channels, k)],
        "b_enc": [(k,)],
        "b_dec": [(channels,)],
        "threshold": [(k,), (), (1,)],
    }
    for name, shapes in wanted.items():
        if atoms.ndim != 2 or (name in tensors and tuple(tensors[name].shape) not in shapes):
            shown = "; ".join(f"{key} {tuple(value.shape)}" for key, value in tensors.items())
            raise UsageError(
                f"the tensors of {str(path)!r} do not fit together: {shown}", f"a sparse autoencoder needs {FORM}"
            )
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UsageError(f"{name} of {str(path)!r} holds numbers that are infinite or none", "download it again")


def _kind(config: Mapping[str, Any], path: Path) -> Kind:
    """The kind that a configuration names; SAELens of 2024 wrote it as the activation function."""
    named = str(config.get("architecture", "standard"))
    short = named.lower().replace("-", "").replace("_", "")
    if short == "standard" and "topk" in str(config.get("activation_fn_str", config.get("activation_fn", ""))).lower():
        short = "topk"
    if short not in KINDS:
        raise UsageError(
            f"{str(path)!r} is of a sparse autoencoder of architecture {named!r}, which lens cannot read",
            f"it reads {', '.join(sorted(KINDS))}",
        )
    treatment = config.get("normalize_activations", "none")
    if treatment not in ("none", None, False):
        raise UsageError(
            f"{str(path)!r} says normalize_activations={treatment!r}, which lens cannot do",
            "fold it into the weights first, as fold_activation_norm_scaling_factor of SAELens does",
        )
    return KINDS[short]


def _active(config: Mapping[str, Any], path: Path) -> int | None:
    kwargs = config.get("activation_fn_kwargs")
    value = config.get("k", kwargs.get("k") if isinstance(kwargs, Mapping) else None)
    if value is not None and (not isinstance(value, int) or value < 1):
        raise UsageError(f"{str(path)!r} says k={value!r}; it must be a whole number from 1", "correct it")
    return value
