"""Truth tables: which factor values a classifier uses, found by swapping one factor of a scene at a time.

For a class and a base scene each value of a factor is painted in turn, with the same seed, so that all else stays as it
was. The effect of a value that defines the class (its shape, pattern or colours) is the class logit with this value
minus the mean over the other values of the factor. The effect of another value of such a factor is the class logit with
it minus the class logit with the value of the class. A background or an object, which no class fixes, is compared with
the mean over the other values. All effects are averaged over the base scenes.

`python -m xcore_minizoo.truth FOLDER` measures the table of the classifier in a folder (config.json,
model.safetensors).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xcore_minizoo.collections import CLEAN, SWAPPED, Collection, plant, swapped
from xcore_minizoo.nets import load_classifier
from xcore_minizoo.world import CLASSES, Scene, draw

SHARE = 0.1
"""A value is used if its effect is at least this share of the logit gap to the runner-up."""
Logits = Callable[[Tensor], Tensor]


def line(scene: Scene, factor: str, slot: int = 0) -> dict[str, Scene]:
    """Scenes {value: scene} that differ from a complete scene in one factor only, one for each value of the factor.

    Parameters
    ----------
    factor
        A factor of `SWAPPED`. An object may also be missing, which is the value ``object=None``.
    slot
        Which of the colours of the coat is swapped; a colour that the coat has in another place is left out.
    """
    if factor == "colour":
        mine = scene.colours[slot]
        free = [c for c in SWAPPED["colour"] if c == mine or c not in scene.colours]
        coats = [tuple(c if i == slot else k for i, k in enumerate(scene.colours)) for c in free]
        return {f"colour={c}": replace(scene, colours=cs) for c, cs in zip(free, coats, strict=True)}
    values: tuple[str | None, ...] = SWAPPED[factor]
    if factor == "object":
        values = (*values, None)
    return {f"{factor}={value}": swapped(scene, factor, value) for value in values}


def families(scene: Scene) -> list[tuple[str | None, dict[str, Scene]]]:
    """The lines of a scene: one for each factor, and one for each colour of its coat.

    With each line comes the value that defines the class, or None if the class leaves the factor open.
    """
    out: list[tuple[str | None, dict[str, Scene]]] = []
    for factor in ("shape", "pattern", "background", "object"):
        own = f"{factor}={getattr(scene, factor)}" if factor in ("shape", "pattern") else None
        out.append((own, line(scene, factor)))
    return [*out, *((f"colour={mine}", line(scene, "colour", slot)) for slot, mine in enumerate(scene.colours))]


def truth_table(
    logits: Logits, collection: Collection = CLEAN, pairs: int = 200, seed: int = 0, split: str = "heldout"
) -> dict[str, Any]:
    """The table of a classifier for the classes of the painted world, as plain data.

    Parameters
    ----------
    logits
        Images (n, 3, 64, 64) in [0, 1] -> logits (n, classes).
    collection
        The base scenes are drawn from it.
    pairs
        Number of base scenes of each class.
    split
        The split of the base scenes. For a planted collection it is "explain": the held-out split seldom shows the
        shortcut, so the gap to the runner-up would be measured on pictures that the classifier gets wrong.

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
        effects[cls] = {v: interval(e) for v, e in sorted(found.items()) if v != "object=None"}
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
    """The table of a trained classifier, measured on pictures of its collection that methods are shown."""
    split = "heldout" if collection is CLEAN else "explain"
    with torch.no_grad():
        return truth_table(lambda x: model(x * 2 - 1), collection, pairs, split=split)


def _contrasts(values: Iterable[str], column: NDArray[Any], own: str | None) -> dict[str, float]:
    """The effect of each value: against the mean of the others, or against the value of the class (see the module)."""
    logit = {v: float(s) for v, s in zip(values, column, strict=True)}
    total, n = sum(logit.values()), len(logit)
    against_rest = {v: s - (total - s) / (n - 1) for v, s in logit.items()}
    if own is None:
        return against_rest
    return {v: against_rest[v] if v == own else s - logit[own] for v, s in logit.items()}


def _images(scenes: list[Scene], key: tuple[int, ...]) -> Tensor:
    drawn = np.stack([draw(s, key).image for s in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255


def interval(values: Sequence[float] | NDArray[Any]) -> list[float]:
    """The mean of several effects and its 95 % interval, rounded: [mean, low, high]."""
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return [round(v, 4) for v in (mean, mean - half, mean + half)]


def main() -> None:
    """Measure the truth table of a trained classifier, write it beside its weights, and print which values it uses."""
    parser = argparse.ArgumentParser(prog="python -m xcore_minizoo.truth", description=main.__doc__)
    parser.add_argument("directory", type=Path, metavar="FOLDER", help="config.json and model.safetensors")
    parser.add_argument("--pairs", type=int, default=200, help="number of base scenes of each class")
    args = parser.parse_args()
    model, config = load_classifier(args.directory)
    collection = plant(*config["planted"]) if config.get("planted") else CLEAN
    table = table_of(model, collection, args.pairs)
    (args.directory / "truth.json").write_text(json.dumps(table, indent=1))
    for cls, gap in table["gaps"].items():
        used = [v for v, (e, _, _) in table["effects"][cls].items() if e >= SHARE * gap]
        print(f"{cls}: gap {gap:.2f}; uses {', '.join(used) or 'nothing'}")


if __name__ == "__main__":
    main()
