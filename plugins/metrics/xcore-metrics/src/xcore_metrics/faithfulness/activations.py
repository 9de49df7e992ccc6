"""Removing concepts in activations: by the codes of a dictionary, and by directions at one layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xcore.contract import Concept, NotApplicable, Probe, Run
from xcore.models.codes import offset_of, rows_of
from xcore.models.outputs import scores_of
from xcore_metrics.faithfulness.encode import atoms_of, encode_unseen
from xcore_metrics.faithfulness.game import LinearGame
from xcore_metrics.faithfulness.orders import Floats, Ints, Sets

DEPENDENT = 1e-6
"""Eigenvalues of the Gram matrix of directions below this share of the largest one count as 0 (linear dependence)."""


@dataclass(frozen=True, eq=False)
class Directions:
    """The concepts that have a direction at one layer."""

    layer: str
    concepts: tuple[int, ...]
    """Their indices in the explanation, most important first."""
    vectors: Tensor
    """(k, C) if all positions share them, otherwise (k, d); of length 1."""
    shared: bool
    """Whether all positions share the directions."""


def directions_of(run: Run) -> Directions:
    """The directions at the layer of the task; if there are none, at the layer where most concepts have one.

    Raises
    ------
    NotApplicable
        There are no directions, one is zero, or their size is neither that of the channels nor that of the layer.
    """
    concepts = run.explanation.concepts
    counts = Counter(layer for c in concepts for layer in c.directions)
    if not counts:
        raise NotApplicable("the concepts have no directions")
    layer = run.task.layer if run.task.layer in counts else max(counts, key=lambda name: counts[name])
    chosen = tuple(i for i, c in enumerate(concepts) if layer in c.directions)
    vectors = [concepts[i].directions[layer].detach().float().flatten() for i in chosen]
    probe = opened(run, layer)
    a = probe.activations(run.heldout.take(slice(1)))
    channels, whole = rows_of(a, probe.layout).shape[-1], a[0].numel()
    lengths = {len(v) for v in vectors}
    if lengths != {channels} and lengths != {whole}:
        raise NotApplicable(
            f"the directions at {layer!r} have {' or '.join(map(str, sorted(lengths)))} entries, but the layer has "
            f"{channels} channels"
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
    """The layer, and the game in which the directions of removed concepts are projected out of the activations.

    With P_S the projection on the span of the directions in S, removing S gives ``a - P_S a``, and keeping only S gives
    ``a - P_all a + P_S a``. The same results from orthonormalising the directions in any order in which those of S come
    first, and removing the components of S, or keeping only them.
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
        *_class_order([run.explanation.concepts[i] for i in found.concepts], len(samples)),
        target=run.task.target,
        scores=scores_of(run.task.classifier),
        probe=probe,
        samples=samples,
        start=rows,
        coordinates=rows @ vectors.T,
        vectors=vectors,
        matrix=matrix,
        complementary=False,
        to_layout=_to_layout(probe.layout, a.shape[1:], found.shared),
    )
    return found.layer, game


def code_game(run: Run, images: int, residual: bool) -> tuple[str, LinearGame]:
    """The layer, and the game in which the codes of removed concepts are set to zero.

    Raises
    ------
    NotApplicable
        There is no dictionary, no concept is an atom of it, or the codes of held-out images cannot be computed.
    """
    dictionary = run.explanation.dictionary
    if dictionary is None:
        raise NotApplicable("the explanation has no dictionary")
    concepts = [c for c in run.explanation.concepts if c.atom is not None]
    if not concepts:
        raise NotApplicable("no concept is an atom of the dictionary")
    probe, samples = opened(run, dictionary.layer), run.heldout.take(slice(images))
    rows, codes = encode_unseen(dictionary, probe, run.task.samples, samples)
    atoms = atoms_of(dictionary)
    start = rows if residual else codes @ atoms + offset_of(dictionary, atoms.shape[1])
    shape = probe.activations(samples.take(slice(1))).shape[1:]
    named = [int(c.atom) for c in concepts if c.atom is not None]
    game = LinearGame(
        *_class_order(concepts, len(samples)),
        target=run.task.target,
        scores=scores_of(run.task.classifier),
        probe=probe,
        samples=samples,
        start=start,
        coordinates=codes[:, :, named],
        vectors=atoms[named],
        matrix=lambda chosen, insert: np.diag(chosen.astype(np.float64)),
        complementary=True,
        to_layout=_to_layout(probe.layout, shape, True),
    )
    return dictionary.layer, game


def _class_order(concepts: list[Concept], n: int) -> tuple[Ints, Floats]:
    """Order (n, k) and importance (n, k), the same for all held-out images, which have no local importances."""
    k = len(concepts)
    order = np.broadcast_to(np.arange(k, dtype=np.int64), (n, k))
    return order, np.broadcast_to(np.array([c.importance for c in concepts], dtype=np.float64), (n, k))


def _projector(gram: Floats, chosen: Sets) -> Floats:
    """(k, k) M such that ``(a V^T) M V`` is the projection of a on the span of the chosen rows of V."""
    made = np.zeros_like(gram)
    if chosen.any():
        made[np.ix_(chosen, chosen)] = np.linalg.pinv(gram[np.ix_(chosen, chosen)], rcond=DEPENDENT, hermitian=True)
    return made


def _to_layout(layout: str, shape: tuple[int, ...], by_position: bool) -> Callable[[Tensor], Tensor]:
    def to_layout(rows: Tensor) -> Tensor:
        if by_position and layout == "NCHW":
            rows = rows.transpose(1, 2)
        return rows.reshape(len(rows), *shape)

    return to_layout
