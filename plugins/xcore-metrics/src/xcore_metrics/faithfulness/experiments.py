"""Which experiments an explanation allows, and the games that they are played in; made once for all three metrics."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from xcore.errors import NotApplicable
from xcore.protocols import Run
from xcore.types import Explanation, Kind
from xcore_metrics.faithfulness.activations import code_game, direction_game
from xcore_metrics.faithfulness.game import Game
from xcore_metrics.faithfulness.options import RemovalOptions
from xcore_metrics.faithfulness.regions import region_games
from xcore_metrics.faithfulness.words import word_games

EXPLAINED = ("region", "words")
"""What is played on the explained samples, since maps and local importances are of these; the others on held-out ones.
"""
KEEP = 4
"""Experiments that are remembered: those of one explanation, which all three metrics ask one after another."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """One variant: its games, or why there are none."""

    variant: str
    """``codes``, ``direction`` (with the layer, unless it is the task's), ``region blur``, ``region mean``, ``words``
    (with the filler, if there is one)."""
    samples: Kind = "image"
    games: tuple[Game, ...] = ()
    reason: str = ""
    left_out: int = 0
    """Samples with fewer than two concepts of their own, which have no order."""
    local: bool = False
    """Whether a sample has an order of its own."""


_made: OrderedDict[str, tuple[object, Experiment]] = OrderedDict()


def experiments(run: Run, o: RemovalOptions) -> list[Experiment]:
    """The experiments that the options and the explanation allow.

    With ``auto``: codes and direction only where the explanation has a dictionary or directions; region on images and
    words on texts always, since they are common to all methods; if they do not apply, that is said.
    """
    has = {
        "codes": run.explanation.dictionary is not None,
        "direction": any(c.directions for c in run.explanation.concepts),
        "region": run.task.samples.kind == "image",
        "words": run.task.samples.kind == "text",
    }
    kinds = [kind for kind, there in has.items() if (o.variant == "auto" and there) or o.variant == kind]
    fills = {"region": o.fills, "words": (o.filler,)}
    asked = [(kind, fill) for kind in kinds for fill in fills.get(kind, ("",))]
    return [_once(run, o, kind, fill) for kind, fill in asked]


def _once(run: Run, o: RemovalOptions, kind: str, fill: str) -> Experiment:
    """The entry holds the classifier, so that no other can get its id while the entry lives."""
    classifier = run.task.classifier
    seen = run.task.samples if kind in EXPLAINED else run.heldout
    settings = (kind, fill, o.order, o.residual, o.images, o.region_images, o.texts, run.cell.data, run.cell.data_seed)
    asked = repr((id(classifier), run.task.target, run.task.layer, settings, seen.digest))
    key = hashlib.sha256(asked.encode())
    key.update(classifier.logits(seen).numpy().tobytes())  # weights may have changed in place
    _add(key, run.explanation)
    name = key.hexdigest()
    if name not in _made:
        _made[name] = (classifier, _experiment(run, o, kind, fill))
        while len(_made) > KEEP:
            _made.popitem(last=False)
    _made.move_to_end(name)
    return _made[name][1]


def _experiment(run: Run, o: RemovalOptions, kind: str, fill: str) -> Experiment:
    variant, of = f"{kind} {fill}".strip(), run.task.samples.kind
    games: Sequence[Game]
    try:
        if kind == "region":
            games = region_games(run, fill, o.region_images, o.order == "local")
        elif kind == "words":
            games = word_games(run, fill, o.texts, o.order == "local")
        else:
            layer, game = direction_game(run, o.images) if kind == "direction" else code_game(run, o.images, o.residual)
            variant = kind if layer == run.task.layer else f"{kind} {layer}"
            variant += " no residual" if kind == "codes" and not o.residual else ""
            games = [game]
    except NotApplicable as error:
        return Experiment(variant, of, reason=str(error))
    several = tuple(g for g in games if g.order.shape[1] > 1)
    if not several:
        each = "no explained text holds two concepts" if kind == "words" else "it has one concept"
        return Experiment(variant, of, reason=f"{each}: no order to judge")
    if all(np.ptp(g.importance, axis=1).max() == 0 for g in several):
        return Experiment(variant, of, reason="all its importances are equal: no order to judge")
    most = {"region": o.region_images, "words": o.texts}.get(kind, o.images)
    asked = min(len(run.task.samples if kind in EXPLAINED else run.heldout), most)
    return Experiment(
        variant, of, several, "", asked - sum(len(g.order) for g in several), _local(run, o, kind, several)
    )


def _local(run: Run, o: RemovalOptions, kind: str, games: Sequence[Game]) -> bool:
    """Whether a sample has an order of its own: not only, as every text, concepts of its own."""
    if kind == "words":
        return o.order == "local" and all(c.local is not None for c in run.explanation.concepts)
    return len(games) > 1 or any(bool((g.order != g.order[:1]).any()) for g in games)


def _add(key: hashlib._Hash, explanation: Explanation) -> None:
    """Everything that an experiment reads of an explanation."""

    def tensor(value: Tensor | None) -> None:
        if value is not None:
            key.update(repr(tuple(value.shape)).encode() + value.detach().cpu().contiguous().numpy().tobytes())

    for c in explanation.concepts:
        key.update(repr((c.name, c.words, c.importance, c.atom, c.parent, sorted(c.directions))).encode())
        for value in (c.maps, c.local, *(c.directions[layer] for layer in sorted(c.directions))):
            key.update(b"|")
            tensor(value)
    if explanation.dictionary is not None:
        d = explanation.dictionary
        key.update(repr((d.layer, d.encoder, sorted(d.state))).encode())
        for value in (d.atoms, d.codes, *(d.state[name] for name in sorted(d.state))):
            tensor(value)
    for part in explanation.parts:
        key.update(b"part")
        _add(key, part)
