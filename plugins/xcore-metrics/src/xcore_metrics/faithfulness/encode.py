"""Codes of samples that no method has seen, for a dictionary that a method found."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from xcore.errors import NotApplicable
from xcore.protocols import Probe
from xcore.types import Dictionary, Samples
from xcore_metrics.faithfulness.orders import Floats

KNOWN = {
    "nnls": {"floor", "shift", "centre", "scale"},
    "linear": {"floor", "shift", "centre", "scale", "encoder", "bias"},
    "onehot": {"floor", "shift", "centre", "scale"},
    "sae": {"floor", "shift", "centre", "scale", "encoder", "bias", "threshold"},
}
"""Entries of `Dictionary.state` that are understood; what is coded is ``(max(a, floor) - shift - centre) / scale``."""

AGREE = 0.01
"""Codes of explained samples must come out as the method stored them, up to this relative difference."""


def rows_of(a: Tensor, layout: str) -> Tensor:
    """(n, P, C) from activations (n, C), (n, T, C) or (n, C, H, W)."""
    if layout == "NCHW":
        return a.flatten(2).transpose(1, 2)
    return a[:, None, :] if layout == "NC" else a


def atoms_of(dictionary: Dictionary) -> Tensor:
    """(k, C) atoms in the unit of the activations."""
    scale = dictionary.state.get("scale")
    atoms = dictionary.atoms.float()
    return atoms if scale is None else atoms * scale.float()


def offset_of(dictionary: Dictionary, channels: int) -> Tensor:
    """(C,) activations of a sample whose codes are all zero."""
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
        If the state has entries that are not known here, or an encoder lacks its matrix.
    """
    state, kind = dictionary.state, dictionary.encoder
    odd = sorted(set(state) - KNOWN[kind])
    if odd:
        raise NotApplicable(f"its dictionary has a state that is not known here: {', '.join(odd)}")
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
        raise NotApplicable("its dictionary is a sparse autoencoder's, without the encoder's matrix")
    if kind == "sae":
        z = z.relu()
        z = torch.where(z >= state.get("threshold", torch.zeros(1)).double(), z, torch.zeros_like(z))
    return z.float()


def reencoded(dictionary: Dictionary, probe: Probe, explained: Samples, unseen: Samples) -> tuple[Tensor, Tensor]:
    """Rows (n, P, C) and codes (n, P, k) of unseen samples, after a look at whether the encoder is understood.

    Raises
    ------
    NotApplicable
        If the codes that the method stored for the explained samples do not come out.
    """
    few = explained.take(slice(4))
    stored = dictionary.codes[: len(few)].float()
    again = encode(dictionary, rows_of(probe.activations(few), probe.layout))
    if stored.shape != again.shape:
        raise NotApplicable(f"its codes have shape {tuple(dictionary.codes.shape)}, the layer gives {again.shape[1:]}")
    apart = float(torch.linalg.norm(stored - again) / torch.linalg.norm(stored).clamp_min(1e-12))
    if apart > AGREE:
        one, two = stored @ dictionary.atoms.float(), again @ dictionary.atoms.float()
        if bool(torch.linalg.norm(one - two) <= AGREE * torch.linalg.norm(one)):
            raise NotApplicable("its atoms depend on one another, so that codes are not unique")
        raise NotApplicable(f"its encoder gives other codes than it stored, {apart:.0%} apart")
    rows = rows_of(probe.activations(unseen), probe.layout)
    return rows, encode(dictionary, rows)


def _nnls(x: Floats, atoms: Floats) -> Floats:
    # |x - u W|^2 = |x Q - u R^T|^2 + rest with W^T = Q R: each row is solved in k dimensions
    q, r = np.linalg.qr(atoms.T)
    return np.stack([nnls(r, row)[0] for row in x @ q])
