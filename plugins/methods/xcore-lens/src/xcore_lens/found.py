"""The dictionary of an explanation: factors of the activations that are explained, or a sparse autoencoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from xcore_craft.activations import SplitClassifier
from xcore_craft.crops import CropGrid
from xcore_craft.factorise import most_concepts

from xcore.contract import Task, UsageError
from xcore_lens.extract import ENCODERS, Atoms, agreement, encode, extract
from xcore_lens.layer import training_rows
from xcore_lens.options import Factorisation, Options
from xcore_lens.sae_source import codes_of, is_sae, sae_of_task


@dataclass(frozen=True, eq=False)
class Found:
    """A dictionary, and how codes are found in it."""

    extractor: str
    """What found it."""
    atoms: Tensor
    """V, (k, C)."""
    code: Callable[[Tensor], Tensor]
    """U (n, P, k) of activations (n, P, C) from which the centre is subtracted already."""
    encoder: Literal["nnls", "linear", "onehot", "sae"]
    state: Mapping[str, Tensor]
    """For `Dictionary.state`."""
    iterations: int = 0
    converged: bool = True
    stability: float | None = None
    """Mean cosine of the matched atoms of two halves of the images; None if it was not measured."""
    rows: tuple[int, int] = (0, 0)
    """How many rows a factorisation is of, and their width."""
    shared_seconds: float = 0.0
    """How long it took to find or train what other cells use, too."""
    trained: Mapping[str, Any] | None = None
    """What is known of the training of a sparse autoencoder; None for a factorisation."""


def find_dictionary(
    task: Task, layer: str, split: SplitClassifier, A: Tensor, A_crops: Tensor | None, grid: CropGrid, o: Options
) -> tuple[Found, SplitClassifier, Tensor, Tensor | None]:
    """The dictionary, and the split classifier and activations with what it subtracts from the latter.

    Parameters
    ----------
    A, A_crops
        (N, P, C) and (N, crops, C), as `xcore_lens.layer.read_activations` gives them.
    """
    if not is_sae(o):
        return _factorised(task, layer, split, A, A_crops, o), split, A, A_crops
    start = time.perf_counter()
    weights = sae_of_task(task, layer, split, grid, o, A.shape[2])
    shared = time.perf_counter() - start
    split = replace(split, shift=weights.centre)
    A, A_crops = A - weights.centre, None if A_crops is None else A_crops - weights.centre
    code = partial(codes_of, weights, layer)
    found = Found(weights.kind, weights.atoms, code, "sae", weights.state, shared_seconds=shared, trained=weights.about)
    return found, split, A, A_crops


def _factorised(task: Task, layer: str, split: SplitClassifier, A: Tensor, A_crops: Tensor | None, o: Options) -> Found:
    """The factors of the activations at all positions, or of images and crops if there are no positions."""
    read = split.read(A)
    rows = read if A_crops is None else torch.cat([read, A_crops], dim=1)
    asked = o.extractor
    assert asked in get_args(Factorisation)
    extractor: Factorisation = "semi-nmf" if split.signed and asked == "nmf" else asked  # type: ignore[assignment]
    images, of_each, channels = rows.shape
    # The default is lowered where there are too few rows or channels for it.
    k = o.k if "k" in o.model_fields_set else min(o.k, most_concepts(images * of_each, channels))
    atoms = _extract(extractor, rows, k, task.seed, o)
    n = len(task.samples)
    task.progress(1, n + 2, f"found {k} concepts at {layer} with {extractor}")
    stability = _stability(extractor, rows, k, task.seed, o) if o.stability else None
    values = torch.from_numpy(atoms.values).float()

    def code(a: Tensor) -> Tensor:
        flat = a.reshape(-1, a.shape[-1]).double().numpy()
        codes = encode(ENCODERS[extractor], flat, values.double().numpy())
        return torch.from_numpy(codes).float().reshape(*a.shape[:2], -1)

    state = {"centre": split.shift} if o.centre and split.shift is not None else split.state
    return Found(
        extractor,
        values,
        code,
        ENCODERS[extractor],
        state,
        atoms.iterations,
        atoms.converged,
        stability,
        (images * of_each, channels),
    )


def _extract(extractor: Factorisation, rows: Tensor, k: int, seed: int, o: Options) -> Atoms:
    """The dictionary of the rows (n, R, C) of n images."""
    return extract(extractor, training_rows(rows.flatten(0, 1), o.rows, seed), k, seed, o.max_iter, o.tol)


def _stability(extractor: Factorisation, rows: Tensor, k: int, seed: int, o: Options) -> float | None:
    """Mean cosine of the matched atoms of two halves of the images; None if a half is too small for a dictionary.

    Source: Fel et al. 2023 (holistic).
    """
    order = np.random.default_rng([seed, 1]).permutation(len(rows)).tolist()
    half = len(order) // 2
    try:
        one, two = (_extract(extractor, rows[part], k, seed, o) for part in (order[:half], order[half:]))
    except UsageError:  # fewer positions than concepts, or only zero activations
        return None
    return agreement(one.values, two.values)
