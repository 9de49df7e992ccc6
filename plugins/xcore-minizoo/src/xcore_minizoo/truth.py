"""Truth tables: what a classifier uses, found by swapping one factor of a scene and leaving all else as it was.

For a class and a base scene every value of a factor is painted in turn (same seed, pose, background). The effect of a
value that defines the class (its shape, pattern, colours) is the class logit with it minus the mean over the factor's
other values; of another value of such a factor, the class logit with it minus that with the class's own. A background
or object, which no class fixes, is compared with the mean over the others. All are averaged over base scenes.

`python -m xcore_minizoo.truth DIR` recomputes the table of the classifier in DIR (config.json, model.safetensors).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xcore_minizoo.collections import CLEAN, SWAPPED, Collection
from xcore_minizoo.world import CLASSES, Scene, draw

SHARE = 0.1
Logits = Callable[[Tensor], Tensor]


def families(scene: Scene) -> list[tuple[str | None, dict[str, Scene]]]:
    """Sets of scenes that differ from `scene` in one factor only: {value: scene}, one set a factor or slot of a colour.

    Each comes with the value that defines the class, or None where the class leaves the factor free.
    """
    out: list[tuple[str | None, dict[str, Scene]]] = []
    for factor in ("shape", "pattern", "background", "object"):
        values: tuple[str | None, ...] = SWAPPED[factor]
        if factor == "object":
            values = (*values, None)
        kept: dict[str, Scene] = {}
        for value in values:
            # a plain coat shows its first colour only, so a pattern swapped in needs a second one to show
            colours = scene.colours
            if factor == "pattern" and value != "plain" and len(colours) == 1:
                colours = (colours[0], "white" if colours[0] != "white" else "black")
            kept[f"{factor}={value}"] = replace(scene, **{factor: value}, colours=colours)
        own = f"{factor}={getattr(scene, factor)}" if factor in ("shape", "pattern") else None
        out.append((own, kept))
    for slot, mine in enumerate(scene.colours):
        free = [c for c in SWAPPED["colour"] if c == mine or c not in scene.colours]
        swapped = [tuple(c if i == slot else k for i, k in enumerate(scene.colours)) for c in free]
        kept = {f"colour={c}": replace(scene, colours=cs) for c, cs in zip(free, swapped, strict=True)}
        out.append((f"colour={mine}", kept))
    return out


def truth_table(
    logits: Logits, collection: Collection = CLEAN, pairs: int = 200, seed: int = 0, split: str = "heldout"
) -> dict[str, Any]:
    """The table of a classifier over `collection.classes`, as plain data.

    Parameters
    ----------
    logits
        Images (n, 3, 64, 64) in [0, 1] to logits (n, classes).
    collection
        Where the base scenes come from.
    pairs
        Base scenes a class.
    split
        "explain" for a planted collection: its held-out split seldom shows the shortcut, so that the gap to the
        runner-up would be that of pictures that the classifier gets wrong.

    Returns
    -------
    dict
        ``effects[class][value] = [mean, low, high]`` (95 % interval over base scenes), ``gaps[class]`` (mean logit gap
        to the runner-up), ``share`` and ``pairs``.
    """
    effects: dict[str, dict[str, list[float]]] = {}
    gaps: dict[str, float] = {}
    for cls in CLASSES:
        target = collection.classes.index(cls)
        found: dict[str, list[float]] = {}
        margins = []
        for i in range(pairs):
            scene, _, key = collection.draw_scene(cls, split, i, seed)
            scene = replace(scene, object=None)
            sets = families(scene)
            scenes = [scene, *(s for _, family in sets for s in family.values())]
            scores = logits(_images(scenes, key)).numpy()
            margins.append(float(scores[0, target] - np.delete(scores[0], target).max()))
            at = 1
            here: dict[str, list[float]] = {}
            for own, family in sets:
                column = scores[at : at + len(family), target]
                at += len(family)
                for value, effect in _contrasts(family, column, own).items():
                    here.setdefault(value, []).append(effect)
            for value, several in here.items():
                found.setdefault(value, []).append(float(np.mean(several)))
        effects[cls] = {v: _interval(e) for v, e in sorted(found.items()) if v != "object=None"}
        gaps[cls] = round(float(np.mean(margins)), 4)
    return {
        "effects": effects,
        "gaps": gaps,
        "share": SHARE,
        "pairs": pairs,
        "seed": seed,
        "data": collection.name,
        "split": split,
    }


def table_of(model: nn.Module, collection: Collection, pairs: int = 200) -> dict[str, Any]:
    """The table of a trained classifier, over the pictures of its collection that methods are shown."""
    split = "heldout" if collection is CLEAN else "explain"
    with torch.no_grad():
        return truth_table(lambda x: model(x * 2 - 1), collection, pairs, split=split)


def _contrasts(values: Iterable[str], column: NDArray[Any], own: str | None) -> dict[str, float]:
    """Each value's logit minus the mean of the others' (free factors, own value), or minus the own value's."""
    logit = {v: float(s) for v, s in zip(values, column, strict=True)}
    total, n = sum(logit.values()), len(logit)
    against_rest = {v: s - (total - s) / (n - 1) for v, s in logit.items()}
    if own is None:
        return against_rest
    return {v: against_rest[v] if v == own else s - logit[own] for v, s in logit.items()}


def _images(scenes: list[Scene], key: tuple[int, ...]) -> Tensor:
    drawn = np.stack([draw(s, key).image for s in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255


def _interval(values: list[float]) -> list[float]:
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return [round(v, 4) for v in (mean, mean - half, mean + half)]


def main() -> None:
    """Recompute the table of a trained classifier and write it beside its weights."""
    from xcore_minizoo.nets import load_classifier

    parser = argparse.ArgumentParser(prog="python -m xcore_minizoo.truth", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pairs", type=int, default=200)
    args = parser.parse_args()
    model, config = load_classifier(args.directory)
    table = table_of(model, _collection(config), args.pairs)
    (args.directory / "truth.json").write_text(json.dumps(table, indent=1))
    for cls, gap in table["gaps"].items():
        used = [v for v, (e, _, _) in table["effects"][cls].items() if e >= SHARE * gap]
        print(f"{cls}: gap {gap:.2f}; uses {', '.join(used) or 'nothing'}")


def _collection(config: dict[str, Any]) -> Collection:
    from xcore_minizoo.collections import plant

    return plant(*config["planted"]) if config.get("planted") else CLEAN


if __name__ == "__main__":
    main()
