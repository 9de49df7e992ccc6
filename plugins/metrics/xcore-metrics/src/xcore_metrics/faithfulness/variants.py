"""The ways in which concepts of an explanation can be removed (the variants of a score), shared by three metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache
from torch import Tensor

from xcore.contract import Explanation, Modality, NotApplicable, Run
from xcore_metrics.faithfulness.activations import code_game, direction_game
from xcore_metrics.faithfulness.game import Game
from xcore_metrics.faithfulness.regions import on_squares, region_games
from xcore_metrics.faithfulness.words import word_games
from xcore_metrics.options import RemovalOptions

ON_EXPLAINED = ("region", "words")
"""Variants on the explained samples, to which maps and local importances belong; the others are on held-out samples."""
VARIANTS_KEPT = 4
"""Variants in the cache: those of one explanation, for which all three metrics ask one after the other."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One way of removing concepts: its games, or the reason why there are none."""

    name: str
    """``codes``, ``direction`` (with the layer, unless it is the task's), ``region blur``, ``region mean`` (with
    ``squares``, if these are removed in place of the regions), ``words`` (with the filler, if there is one)."""
    modality: Modality = "image"
    """Of the samples from which concepts are removed."""
    games: tuple[Game, ...] = ()
    reason: str = ""
    """Why there are no games; "" if there are some."""
    left_out: int = 0
    """Number of samples with fewer than two concepts, which have no order."""
    local: bool = False
    """Whether samples have orders of their own."""


_cache: LRUCache[str, tuple[object, Variant]] = LRUCache(VARIANTS_KEPT)


def variants(run: Run, o: RemovalOptions) -> list[Variant]:
    """The variants that the options ask for.

    ``auto`` stands for codes and direction if the explanation has a dictionary or directions, and always for region on
    images and words on texts, which all methods have in common; where these do not apply, the variant gives the reason.
    """
    has = {
        "codes": run.explanation.dictionary is not None,
        "direction": any(c.directions for c in run.explanation.concepts),
        "region": run.task.samples.modality == "image",
        "words": run.task.samples.modality == "text",
    }
    kinds = [kind for kind, present in has.items() if (o.variant == "auto" and present) or o.variant == kind]
    fills = {"region": o.fills, "words": (o.filler,)}
    regions = {"region": o.regions}
    asked = [(kind, fill, r) for kind in kinds for r in regions.get(kind, ("own",)) for fill in fills.get(kind, ("",))]
    return [_cached(run, o, *each) for each in asked]


def _cached(run: Run, o: RemovalOptions, kind: str, fill: str, regions: str) -> Variant:
    """The variant, made once for the same content.

    The entry holds the classifier too, so that no other classifier gets the same id while the entry exists.
    """
    classifier = run.task.classifier
    samples = run.task.samples if kind in ON_EXPLAINED else run.heldout
    settings = (kind, fill, regions, o.order, o.residual, o.images, o.region_images, o.texts)
    drawn = (run.cell.data, run.cell.data_seed, samples.digest)
    asked = repr((id(classifier), run.task.target, run.task.layer, settings, drawn))
    key = hashlib.sha256(asked.encode())
    key.update(classifier.logits(samples).numpy().tobytes())  # since weights may change in place
    _add(key, run.explanation)
    name = key.hexdigest()
    if name not in _cache:
        _cache[name] = (classifier, _variant(run, o, kind, fill, regions))
    variant: Variant = _cache[name][1]
    return variant


def _variant(run: Run, o: RemovalOptions, kind: str, fill: str, regions: str) -> Variant:
    name, modality = f"{kind} {fill}".strip(), run.task.samples.modality
    name += " squares" if regions == "squares" else ""
    games: Sequence[Game]
    try:
        if kind == "region":
            games = region_games(run, fill, o.region_images, o.order == "local")
            if regions == "squares":  # but for images without two concepts, in which nothing is ranked
                games = [on_squares(game) for game in games if game.order.shape[1] > 1]
        elif kind == "words":
            games = word_games(run, fill, o.texts, o.order == "local")
        else:
            layer, game = direction_game(run, o.images) if kind == "direction" else code_game(run, o.images, o.residual)
            name = kind if layer == run.task.layer else f"{kind} {layer}"
            name += " no residual" if kind == "codes" and not o.residual else ""
            games = [game]
    except NotApplicable as error:
        return Variant(name, modality, reason=str(error))
    several = tuple(g for g in games if g.order.shape[1] > 1)
    if not several:
        what = "no explained text contains two concepts" if kind == "words" else "the explanation has one concept"
        return Variant(name, modality, reason=f"{what}, so there is no order to judge")
    if all(np.ptp(g.importance, axis=1).max() == 0 for g in several):
        return Variant(name, modality, reason="all importances are equal, so there is no order to judge")
    most = {"region": o.region_images, "words": o.texts}.get(kind, o.images)
    asked = min(len(run.task.samples if kind in ON_EXPLAINED else run.heldout), most)
    left_out = asked - sum(len(g.order) for g in several)
    return Variant(name, modality, several, "", left_out, _is_local(run, o, kind, several))


def _is_local(run: Run, o: RemovalOptions, kind: str, games: Sequence[Game]) -> bool:
    """Whether samples have orders of their own, and not only, as texts do, concepts of their own."""
    if kind == "words":
        return o.order == "local" and all(c.local is not None for c in run.explanation.concepts)
    return len(games) > 1 or any(bool((g.order != g.order[:1]).any()) for g in games)


def _add(key: hashlib._Hash, explanation: Explanation) -> None:
    """Add all that a variant reads of an explanation to the key."""

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
