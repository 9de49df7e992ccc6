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
from xcore.types import Explanation
from xcore_metrics.faithfulness.activations import code_game, direction_game
from xcore_metrics.faithfulness.game import Game
from xcore_metrics.faithfulness.options import RemovalOptions
from xcore_metrics.faithfulness.regions import region_games

KEEP = 4
"""Experiments that are remembered: those of one explanation, which all three metrics ask one after another."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """One variant: its games, or why there are none."""

    variant: str
    """``codes``, ``direction`` (with the layer, unless it is the task's), ``region blur``, ``region mean``."""
    games: tuple[Game, ...] = ()
    reason: str = ""
    left_out: int = 0
    """Samples with fewer than two concepts of their own, which have no order."""


_made: OrderedDict[str, tuple[object, Experiment]] = OrderedDict()


def experiments(run: Run, o: RemovalOptions) -> list[Experiment]:
    """The experiments that the options and the explanation allow.

    With ``auto``: codes and direction only where the explanation has a dictionary or directions, region always, since
    it is common to all image methods; if it does not apply, that is said.
    """
    has = {
        "codes": run.explanation.dictionary is not None,
        "direction": any(c.directions for c in run.explanation.concepts),
        "region": True,
    }
    kinds = [kind for kind, there in has.items() if (o.variant == "auto" and there) or o.variant == kind]
    asked = [(kind, fill) for kind in kinds for fill in (o.fills if kind == "region" else ("",))]
    return [_once(run, o, kind, fill) for kind, fill in asked]


def _once(run: Run, o: RemovalOptions, kind: str, fill: str) -> Experiment:
    """The entry holds the classifier, so that no other can get its id while the entry lives."""
    classifier = run.task.classifier
    seen = run.task.samples if kind == "region" else run.heldout
    settings = (kind, fill, o.order, o.residual, o.images, o.region_images, run.cell.data, run.cell.data_seed)
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
    variant = f"{kind} {fill}".strip()
    games: Sequence[Game]
    try:
        if kind == "region":
            games = region_games(run, fill, o.region_images, o.order == "local")
        else:
            layer, game = direction_game(run, o.images) if kind == "direction" else code_game(run, o.images, o.residual)
            variant = kind if layer == run.task.layer else f"{kind} {layer}"
            variant += " no residual" if kind == "codes" and not o.residual else ""
            games = [game]
    except NotApplicable as error:
        return Experiment(variant, reason=str(error))
    several = tuple(g for g in games if g.order.shape[1] > 1)
    asked = min(len(run.task.samples), o.region_images) if kind == "region" else min(len(run.heldout), o.images)
    if not several:
        return Experiment(variant, reason="it has one concept: no order to judge")
    if all(np.ptp(g.importance, axis=1).max() == 0 for g in several):
        return Experiment(variant, reason="all its importances are equal: no order to judge")
    return Experiment(variant, several, left_out=asked - sum(len(g.order) for g in several))


def _add(key: hashlib._Hash, explanation: Explanation) -> None:
    """Everything that an experiment reads of an explanation."""

    def tensor(value: Tensor | None) -> None:
        if value is not None:
            key.update(repr(tuple(value.shape)).encode() + value.detach().cpu().contiguous().numpy().tobytes())

    for c in explanation.concepts:
        key.update(repr((c.importance, c.atom, c.parent, sorted(c.directions))).encode())
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
