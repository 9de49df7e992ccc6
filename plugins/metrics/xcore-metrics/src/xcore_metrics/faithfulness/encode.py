"""Codes of held-out samples, which no method has seen, in the dictionary of an explanation."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from xcore.contract import Dictionary, NotApplicable, Probe, Samples
from xcore_metrics.faithfulness.orders import Floats

STATE_KEYS = {
    "nnls": {"floor", "shift", "centre", "scale"},
    "linear": {"floor", "shift", "centre", "scale", "encoder", "bias"},
    "onehot": {"floor", "shift", "centre", "scale"},
    "sae": {"floor", "shift", "centre", "scale", "encoder", "bias", "threshold"},
}
"""Supported entries of `Dictionary.state` by encoder; they encode ``(max(a, floor) - shift - centre) / scale``."""

TOLERANCE = 0.01
"""Largest relative difference between the stored codes of explained samples and the codes that are computed here."""


def rows_of(a: Tensor, layout: str) -> Tensor:
    """(n, P, C) from activations (n, C), (n, T, C) or (n, C, H, W)."""
    if layout == "NCHW":
        return a.flatten(2).transpose(1, 2)
    return a[:, None, :] if layout == "NC" else a


def atoms_of(dictionary: Dictionary) -> Tensor:
    """(k, C) atoms in the units of the activations."""
    scale = dictionary.state.get("scale")
    atoms = dictionary.atoms.float()
    return atoms if scale is None else atoms * scale.float()


def offset_of(dictionary: Dictionary, channels: int) -> Tensor:
    """(C,) activations of a sample whose codes are all 0."""
    total = torch.zeros(channels)
    for key in ("shift", "centre"):
        if key in dictionary.state:
            total = total + dictionary.state[key].float()
    return total


def encode(dictionary: Dictionary, rows: Tensor) -> Tensor:
    """(n, P, k) codes of rows (n, P, C) by the dictionary's own encoder.

    ``nnls``: exact non-negative least squares; ``linear``: the encoder's matrix (C, k) and bias, or least squares on
    the atoms; ``onehot``: 1 for the nearest atom; ``sae``: ``relu(x @ encoder + bias)``, zero below the threshold.

    Raises
    ------
    NotApplicable
        The state has unsupported entries, or the encoder of a sparse autoencoder lacks its matrix.
    """
    state, kind = dictionary.state, dictionary.encoder
    unsupported = sorted(set(state) - STATE_KEYS[kind])
    if unsupported:
        raise NotApplicable(
            f"this metric does not support an entry of the dictionary's state: {', '.join(unsupported)}"
        )
    x = rows.double()
    if "floor" in state:
        x = torch.maximum(x, state["floor"].double())
    x = (x - offset_of(dictionary, x.shape[-1])) / state.get("scale", torch.ones(1)).double()
    atoms = dictionary.atoms.double()
    if kind == "nnls":
        return torch.from_numpy(_nnls(x.flatten(0, 1).numpy(), atoms.numpy())).float().view(*x.shape[:2], len(atoms))
    if kind == "onehot":
        near = torch.cdist(x.flatten(0, 1), atoms).argmin(1)
        return torch.eye(len(atoms))[near].view(*x.shape[:2], len(atoms))
    if "encoder" in state:
        z = x @ state["encoder"].double() + state.get("bias", torch.zeros(1)).double()
    elif kind == "linear":
        z = x @ torch.linalg.pinv(atoms)
    else:
        raise NotApplicable("the dictionary is of a sparse autoencoder, but has no matrix `encoder`")
    if kind == "sae":
        z = z.relu()
        z = torch.where(z >= state.get("threshold", torch.zeros(1)).double(), z, torch.zeros_like(z))
    return z.float()


def encode_unseen(dictionary: Dictionary, probe: Probe, explained: Samples, unseen: Samples) -> tuple[Tensor, Tensor]:
    """Rows (n, P, C) and codes (n, P, k) of unseen samples, after checking the encoder on explained samples.

    Raises
    ------
    NotApplicable
        The computed codes of explained samples differ from those that the method stored.
    """
    few = explained.take(slice(4))
    stored = dictionary.codes[: len(few)].float()
    again = encode(dictionary, rows_of(probe.activations(few), probe.layout))
    if stored.shape != again.shape:
        raise NotApplicable(
            f"the stored codes have shape {tuple(dictionary.codes.shape)}, but the layer gives (n, {again.shape[1]}, "
            f"{again.shape[2]})"
        )
    apart = float(torch.linalg.norm(stored - again) / torch.linalg.norm(stored).clamp_min(1e-12))
    if apart > TOLERANCE:
        one, two = stored @ dictionary.atoms.float(), again @ dictionary.atoms.float()
        if bool(torch.linalg.norm(one - two) <= TOLERANCE * torch.linalg.norm(one)):
            raise NotApplicable("the atoms are linearly dependent, so codes are not unique")
        raise NotApplicable(f"the codes of explained samples differ from the stored ones by {apart:.0%}")
    rows = rows_of(probe.activations(unseen), probe.layout)
    return rows, encode(dictionary, rows)


def _nnls(x: Floats, atoms: Floats) -> Floats:
    # |x - u W|^2 = |x Q - u R^T|^2 + rest with W^T = Q R: each row is solved in k dimensions
    q, r = np.linalg.qr(atoms.T)
    return np.stack([nnls(r, row)[0] for row in x @ q])
