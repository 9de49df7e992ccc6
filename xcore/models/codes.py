"""Codes of activations in a dictionary: how much of each atom is at each position of a sample."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls as scipy_nnls
from torch import Tensor

from xcore.base.errors import NotApplicable
from xcore.contract.types import Dictionary

Array = NDArray[np.float64]

STATE_KEYS = {
    "nnls": {"floor", "shift", "centre", "scale"},
    "linear": {"floor", "shift", "centre", "scale", "encoder", "bias"},
    "onehot": {"floor", "shift", "centre", "scale"},
    "sae": {"floor", "shift", "centre", "scale", "encoder", "bias", "threshold", "top_k"},
}
"""Supported entries of `Dictionary.state` by encoder; they encode ``(max(a, floor) - shift - centre) / scale``."""


def rows_of(a: Tensor, layout: str) -> Tensor:
    """Rows (n, P, C), one for each position, from activations (n, C), (n, T, C) or (n, C, H, W)."""
    if layout == "NCHW":
        return a.flatten(2).transpose(1, 2)
    return a[:, None, :] if layout == "NC" else a


def offset_of(dictionary: Dictionary, channels: int) -> Tensor:
    """(C,) activations of a sample whose codes are all 0."""
    total = torch.zeros(channels)
    for key in ("shift", "centre"):
        if key in dictionary.state:
            total = total + dictionary.state[key].float()
    return total


def encode(dictionary: Dictionary, rows: Tensor) -> Tensor:
    """Codes (n, P, k) of rows (n, P, C) of activations, by the dictionary's own encoder.

    ``nnls``: exact non-negative least squares; ``linear``: the encoder's matrix (C, k) and bias, or least squares on
    the atoms; ``onehot``: 1 for the nearest atom (of equally near ones the first) and 0 for all others; ``sae``:
    ``relu(x @ encoder + bias)``, zero below the threshold and, with ``top_k``, but for the largest codes of a row.

    Raises
    ------
    NotApplicable
        The state has unsupported entries, or the encoder of a sparse autoencoder lacks its matrix.
    """
    state, kind = dictionary.state, dictionary.encoder
    if unsupported := sorted(set(state) - STATE_KEYS[kind]):
        raise NotApplicable(
            f"the state of the dictionary has an entry that is not supported: {', '.join(unsupported)}",
            f"an encoder {kind!r} may have {', '.join(sorted(STATE_KEYS[kind]))}",
        )
    x = rows.detach().cpu().double()
    if "floor" in state:
        x = torch.maximum(x, state["floor"].double())
    x = (x - offset_of(dictionary, x.shape[-1])) / state.get("scale", torch.ones(1)).double()
    atoms = dictionary.atoms.double()
    if kind == "nnls":
        codes = torch.from_numpy(nnls(x.flatten(0, 1).numpy(), atoms.numpy()))
        return codes.float().view(*x.shape[:2], len(atoms))
    if kind == "onehot":
        nearest = (atoms.square().sum(1) - 2 * x @ atoms.T).argmin(2)
        return torch.eye(len(atoms))[nearest]
    if "encoder" in state:
        z = x @ state["encoder"].double() + state.get("bias", torch.zeros(1)).double()
    elif kind == "linear":
        z = x @ torch.linalg.pinv(atoms)
    else:
        raise NotApplicable("the dictionary is of a sparse autoencoder, but has no matrix `encoder`")
    if kind == "sae":
        z = z.relu()
        z = torch.where(z >= state.get("threshold", torch.zeros(1)).double(), z, torch.zeros_like(z))
        if "top_k" in state:
            best = z.topk(min(int(state["top_k"]), len(atoms)), dim=2)
            z = torch.zeros_like(z).scatter(2, best.indices, best.values)
    return z.float()


def nnls(a: Array, atoms: Array, chunk: int = 4096) -> Array:
    """Non-negative least squares: for each row a the codes u >= 0 that minimise ||a - u W||, exactly.

    Block principal pivoting (Kim and Park 2011, SIAM J. Sci. Comput. 33, algorithm 2) solves many rows at once: each
    row keeps a set of positive codes and exchanges all coordinates that violate the optimality conditions, or only one
    of them when exchanging all makes no progress. Rows that still violate the conditions at the end, because atoms are
    linearly dependent, are solved by Lawson and Hanson's algorithm (scipy).

    Parameters
    ----------
    a
        (n, C), any sign.
    atoms
        W, (k, C).
    chunk
        How many rows are solved at once. It bounds the memory to chunk * k^2 numbers.

    Returns
    -------
    (n, k) >= 0.
    """
    a, atoms = np.asarray(a, dtype=np.float64), np.asarray(atoms, dtype=np.float64)
    codes = np.zeros((len(a), len(atoms)))
    norms = np.linalg.norm(atoms, axis=1)
    alive = norms > 0
    if not alive.any() or not len(a):
        return codes
    unit = atoms[alive] / norms[alive, None]  # so that one tolerance fits all coordinates
    gram, targets = unit @ unit.T, a @ unit.T
    solved = np.concatenate([_pivot(gram, targets[i : i + chunk]) for i in range(0, len(a), chunk)])
    for row in np.flatnonzero(~_optimal(gram, targets, solved)):
        solved[row] = scipy_nnls(unit.T, a[row])[0]
    codes[:, alive] = solved / norms[alive]
    return codes


def _optimal(gram: Array, targets: Array, x: Array) -> NDArray[np.bool_]:
    """Which rows satisfy the optimality conditions: x >= 0, gradient >= 0, and at least one of the two is zero."""
    slack = 1e-9 * np.abs(targets).max(axis=1, keepdims=True)
    gradient = x @ gram - targets
    fine = np.isfinite(x) & (x >= 0) & (gradient >= -slack) & ((x == 0) | (np.abs(gradient) <= slack))
    return np.asarray(fine.all(axis=1))


def _solved(gram: Array, passive: NDArray[np.bool_], b: Array) -> Array:
    """The codes (n, k) where the positive coordinates of each row solve their own system and the others are 0.

    Rows with the same positive coordinates have the same system, which is inverted once for them (Van Benthem and
    Keenan, Journal of Chemometrics 2004).
    """
    eye = np.eye(gram.shape[0])
    packed = np.packbits(passive, axis=1)
    names = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    names[:, : packed.shape[1]] = packed
    keys = names.view(np.uint64)
    order = np.lexsort(keys.T)
    starts = np.flatnonzero(np.r_[True, (keys[order[1:]] != keys[order[:-1]]).any(axis=1)])
    groups = np.empty(len(passive), dtype=np.int64)
    groups[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(passive)]))
    own = passive[order[starts]]
    # Rows of the identity hold the coordinates at zero that are not positive.
    system = np.where(own[:, :, None] & own[:, None, :], gram, eye)
    if 2 * len(own) > len(passive):
        alone: Array = np.linalg.solve(system[groups], b[:, :, None])[:, :, 0].astype(np.float64, copy=False)
        return alone
    found: Array = (np.linalg.inv(system)[groups] @ b[:, :, None])[:, :, 0]
    return found


def _pivot(gram: Array, targets: Array) -> Array:
    """Block principal pivoting for min x G x / 2 - b x, x >= 0, over the rows b of `targets`."""
    n, k = targets.shape
    eye = np.eye(k)
    x = np.zeros((n, k))
    passive = np.zeros((n, k), dtype=bool)
    patience, fewest = np.full(n, 3), np.full(n, k + 1)
    todo = np.arange(n)
    for _ in range(20 * k + 20):
        b, p = targets[todo], passive[todo]
        slack = 1e-12 * np.abs(b).max(axis=1, keepdims=True)
        wrong = np.where(p, x[todo] < -slack, x[todo] @ gram - b < -slack)
        count = wrong.sum(axis=1)
        keep = count > 0
        todo, p, b, wrong, count = todo[keep], p[keep], b[keep], wrong[keep], count[keep]
        if not len(todo):
            break
        better = count < fewest[todo]
        patience[todo] = np.where(better, 3, patience[todo] - 1)
        fewest[todo] = np.minimum(count, fewest[todo])
        stalled = patience[todo] < 0
        last = k - 1 - wrong[:, ::-1].argmax(axis=1)
        wrong[stalled] = eye[last[stalled]].astype(bool)
        p = p ^ wrong
        passive[todo] = p
        try:
            x[todo] = _solved(gram, p, np.where(p, b, 0.0))
        except np.linalg.LinAlgError:  # linearly dependent atoms; the caller sees that these rows are not optimal
            x[todo] = np.nan
            break
    return np.maximum(x, 0.0)  # removes rounding errors below zero; NaN stays
