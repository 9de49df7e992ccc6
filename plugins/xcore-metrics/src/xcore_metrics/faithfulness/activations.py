"""Removal in activations: codes of a dictionary, and directions of one layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xcore.errors import NotApplicable
from xcore.protocols import Probe, Run
from xcore.types import Concept
from xcore_metrics.faithfulness.encode import atoms_of, offset_of, reencoded, rows_of
from xcore_metrics.faithfulness.game import LinearGame
from xcore_metrics.faithfulness.orders import Floats, Ints, Sets

DEPENDENT = 1e-6
"""Directions that lie in the span of others up to this share (of the largest eigenvalue) count as doing so."""


@dataclass(frozen=True, eq=False)
class Directions:
    """The concepts that have a direction at one layer."""

    layer: str
    concepts: tuple[int, ...]
    """Their places in the explanation, most important first."""
    vectors: Tensor
    """(k, C) if all positions share them, else (k, d); of length 1."""
    shared: bool


def directions_of(run: Run) -> Directions:
    """The directions at the layer of the task, or at the layer where most concepts have one.

    Raises
    ------
    NotApplicable
        If there are none, one is zero, or they fit neither the channels nor the whole of the layer.
    """
    concepts = run.explanation.concepts
    counts = Counter(layer for c in concepts for layer in c.directions)
    if not counts:
        raise NotApplicable("its concepts have no directions")
    layer = run.task.layer if run.task.layer in counts else max(counts, key=lambda name: counts[name])
    chosen = tuple(i for i, c in enumerate(concepts) if layer in c.directions)
    vectors = [concepts[i].directions[layer].detach().float().flatten() for i in chosen]
    probe = opened(run, layer)
    a = probe.activations(run.heldout.take(slice(1)))
    channels, whole = rows_of(a, probe.layout).shape[-1], a[0].numel()
    lengths = {len(v) for v in vectors}
    if lengths != {channels} and lengths != {whole}:
        raise NotApplicable(
            f"its directions at {layer!r} have {sorted(lengths)} numbers, the layer {channels} channels"
        )
    stacked = torch.stack(vectors)
    norms = stacked.norm(dim=1, keepdim=True)
    if bool((norms == 0).any()):
        raise NotApplicable(f"a direction at {layer!r} is zero")
    return Directions(layer, chosen, stacked / norms, lengths == {channels})


def opened(run: Run, layer: str) -> Probe:
    """The classifier's probe at a layer; raises `NotApplicable` for a black box."""
    if "activations" not in run.task.classifier.can:
        raise NotApplicable("the classifier offers no activations")
    return run.task.classifier.open(layer)


def direction_game(run: Run, images: int) -> tuple[str, LinearGame]:
    """The layer, and the game in which removed concepts' directions are projected out of the activations.

    With P_S the projection on the span of the directions in S, removing S leaves ``a - P_S a`` and inserting S alone
    leaves ``a - P_all a + P_S a``. Both are what one gets by making the directions orthonormal in any order in which
    those of S come first, and taking the components of S out, or putting them alone in.
    """
    found = directions_of(run)
    probe, samples = opened(run, found.layer), run.heldout.take(slice(images))
    a = probe.activations(samples)
    rows = rows_of(a, probe.layout) if found.shared else a.flatten(1)[:, None, :]
    vectors = found.vectors
    gram = (vectors.double() @ vectors.double().T).numpy()
    everything = _projector(gram, np.ones(len(gram), dtype=np.bool_))

    def matrix(chosen: Sets, insert: bool) -> Floats:
        own = _projector(gram, chosen)
        return everything - own if insert else own

    game = LinearGame(
        *_ranks([run.explanation.concepts[i] for i in found.concepts], len(samples)),
        target=run.task.target,
        probe=probe,
        samples=samples,
        start=rows,
        coordinates=rows @ vectors.T,
        vectors=vectors,
        matrix=matrix,
        dual=False,
        back=_back(probe.layout, a.shape[1:], found.shared),
    )
    return found.layer, game


def code_game(run: Run, images: int, residual: bool) -> tuple[str, LinearGame]:
    """The layer, and the game in which removed concepts' codes are set to zero.

    Raises
    ------
    NotApplicable
        Without a dictionary or concepts that name its atoms, or where codes of unseen images cannot be computed.
    """
    dictionary = run.explanation.dictionary
    if dictionary is None:
        raise NotApplicable("it has no dictionary")
    concepts = [c for c in run.explanation.concepts if c.atom is not None]
    if not concepts:
        raise NotApplicable("no concept is an atom of its dictionary")
    probe, samples = opened(run, dictionary.layer), run.heldout.take(slice(images))
    rows, codes = reencoded(dictionary, probe, run.task.samples, samples)
    atoms = atoms_of(dictionary)
    start = rows if residual else codes @ atoms + offset_of(dictionary, atoms.shape[1])
    shape = probe.activations(samples.take(slice(1))).shape[1:]
    named = [int(c.atom) for c in concepts if c.atom is not None]
    game = LinearGame(
        *_ranks(concepts, len(samples)),
        target=run.task.target,
        probe=probe,
        samples=samples,
        start=start,
        coordinates=codes[:, :, named],
        vectors=atoms[named],
        matrix=lambda chosen, insert: np.diag(chosen.astype(np.float64)),
        dual=True,
        back=_back(probe.layout, shape, True),
    )
    return dictionary.layer, game


def _ranks(concepts: list[Concept], n: int) -> tuple[Ints, Floats]:
    """Order (n, k) and importance (n, k): the same for all held-out images, where nothing local is known."""
    k = len(concepts)
    order = np.broadcast_to(np.arange(k, dtype=np.int64), (n, k))
    return order, np.broadcast_to(np.array([c.importance for c in concepts], dtype=np.float64), (n, k))


def _projector(gram: Floats, chosen: Sets) -> Floats:
    """(k, k) M such that ``(a V^T) M V`` is the projection of a on the span of the chosen rows of V."""
    made = np.zeros_like(gram)
    if chosen.any():
        made[np.ix_(chosen, chosen)] = np.linalg.pinv(gram[np.ix_(chosen, chosen)], rcond=DEPENDENT, hermitian=True)
    return made


def _back(layout: str, shape: tuple[int, ...], by_position: bool) -> Callable[[Tensor], Tensor]:
    def back(rows: Tensor) -> Tensor:
        if by_position and layout == "NCHW":
            rows = rows.transpose(1, 2)
        return rows.reshape(len(rows), *shape)

    return back
