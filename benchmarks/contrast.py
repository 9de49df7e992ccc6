"""Do explanations differ where models differ? BAM's three questions: `python benchmarks/contrast.py`.

    python benchmarks/contrast.py                                # all pairs of twins, in runs/contrast
    python benchmarks/contrast.py --pairs 1 --methods cce,tcav   # two methods on the first pair only

Two wired classifiers, twins, explain the same pictures of the minizoo, which are of the class "wired" for both: one
reads the shape of the animal, the other the background. What either must not use is known. The suite `contrast` is run
for each pair and the table is printed. What was explained or measured is kept in --run, so the script can be stopped
and goes on where it was.

- *model contrast*: the share of the saliency that is on the animal, of the twin that reads its shape less that of the
  twin that reads the background; mean over new pictures. 0 = the explanation does not tell the twins apart.
- *named*: the same for a concept with a name, as a share of the largest importance in the explanation: "a horse" under
  the first twin less under the second, and "grass" under the second less under the first.
- *input dependence*: the share of pictures in which the place of the animal has less saliency under the twin that reads
  the background than in the same picture painted without the animal, where background is there.
- *input independence*: the share of pictures whose saliency hardly changes (total variation below a tenth) when an
  object is painted into them by which the logit hardly changes (by a tenth of its range at most); both twins.

The saliency of a picture is the sum of the maps of the concepts, found there by `apply`: each is weighted with its
importance (0 if that is negative) and divided by its mean over the explained pictures, since maps of different concepts
have no common scale.

References
----------
Yang, Kim, Benchmarking Attribution Methods with Relative Feature Importance, arXiv:1907.09701: the three questions. The
formulas are as described here; theirs differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from intervals import mean_interval
from torch import Tensor
from xcore_minizoo.scenes import NONE
from xcore_minizoo.wiring import SWING, Wiring, collection
from xcore_minizoo.world import OBJECTS, Scene, draw

import xcore
from xcore.api import bench
from xcore.contract import Explanation, Ref, Samples, digest
from xcore.registry import Registry, load_registry

PAIRS = (("horse", "grass"), ("cat", "sand"), ("bird", "snow"), ("fish", "water"), ("dog", "forest"))
"""Shape and background."""
NEW, SEED = 24, 7
"""New pictures of each pair, and the seed that they are drawn with; explained pictures have the seeds of the suite."""
HARDLY = 0.1
COLUMNS = ("contrast", "named", "dependence", "independence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="pairs of twins, from the first")
    parser.add_argument("--run", type=Path, default=Path("runs/contrast"), help="directory that keeps what was found")
    parser.add_argument("--methods", default="", help="methods instead of those of the suite, joined by commas")
    arguments = parser.parse_args()
    methods = [name for name in arguments.methods.split(",") if name]
    registry, rows = load_registry(), list[Mapping[str, Any]]()
    for shape, background in PAIRS[: arguments.pairs]:
        rows += _of_pair(registry, arguments.run, methods, shape, background)
    print(_table(rows))


def _of_pair(
    registry: Registry, run: Path, methods: Sequence[str], shape: str, background: str
) -> list[dict[str, Any]]:
    """A row for each method: the figures of one pair of twins; what was measured before is read."""
    twins = (f"minizoo/wired:shape={shape}", f"minizoo/wired:background={background}")
    data = f"minizoo/wired:shape={shape} & background={background}"
    path = run / f"{shape}-{background}"
    made = bench(methods, suite="contrast", data=data, classifiers=list(twins), out=path, registry=registry)
    cells = {(o.cell.label, o.cell.classifier.text): o.record for o in made.result.outcomes if o.status == "ok"}
    rows = []
    for label in dict.fromkeys(label for label, _ in cells):
        if any((label, twin) not in cells for twin in twins):
            continue
        records = [cells[label, twin] for twin in twins]
        kept = path / "contrast" / f"{digest([*records, NEW, SEED, HARDLY])}.json"
        if not kept.is_file():
            explained = [xcore.load(path / "explanations" / record) for record in records]
            figures = _figures(registry, explained, twins, shape, background)
            figures["seconds"] = float(np.mean([made.cost.seconds for made in explained]))
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(figures))
        rows.append({"label": label, **json.loads(kept.read_text())})
    return rows


def _figures(
    registry: Registry, explained: Sequence[xcore.Explained], twins: Sequence[str], shape: str, background: str
) -> dict[str, float | None]:
    """What a method says of one pair of twins; None where it has no maps, or no concept has the name."""
    named = _named(explained, f"a {shape}", background)
    if not any(c.maps is not None for made in explained for c in made.concepts):
        return {"contrast": None, "named": named, "dependence": None, "independence": None}
    classifiers = [registry.create("classifier", Ref(twin)) for twin in twins]
    plain, animals = _pictures(shape, background, {"object": None})
    empty, _ = _pictures(shape, background, {"object": None, "shape": None})
    unchanged, on_animal = [], []
    for classifier, made in zip(classifiers, explained, strict=True):
        salient = _saliency(made, classifier, plain, registry)
        on_animal.append(_share(salient, animals))
        for thing in OBJECTS:
            changed, _ = _pictures(shape, background, {"object": thing})
            moved = (classifier.logits(changed) - classifier.logits(plain))[:, 0].abs()
            same = moved <= HARDLY * SWING
            variation = (_as_shares(salient) - _as_shares(_saliency(made, classifier, changed, registry))).abs()
            unchanged += (variation.flatten(1).sum(1) / 2 < HARDLY)[same].tolist()
    without = _share(_saliency(explained[1], classifiers[1], empty, registry), animals)
    return {
        "contrast": float((on_animal[0] - on_animal[1]).mean()),
        "named": named,
        "dependence": float((on_animal[1] < without).double().mean()),
        "independence": float(np.mean(unchanged)) if unchanged else None,
    }


def _pictures(shape: str, background: str, changes: Mapping[str, str | None]) -> tuple[Samples, Tensor]:
    """New pictures of the class with some factors changed, and the masks (n, 64, 64) of the animals."""
    drawn = collection(Wiring.parse(f"shape={shape} & background={background}"))
    images, masks = [], []
    for i in range(NEW):
        scene, _, key = drawn.draw_scene("wired", "heldout", i, SEED)
        painted = draw(_changed(scene, changes), key)
        images.append(torch.from_numpy(painted.image).permute(2, 0, 1).float() / 255)
        masks.append(torch.from_numpy(painted.animal))
    what = ",".join(f"{factor}={value or NONE}" for factor, value in changes.items())
    return Samples("image", torch.stack(images), tuple(f"new-{i}#{what}" for i in range(NEW))), torch.stack(masks)


def _changed(scene: Scene, changes: Mapping[str, str | None]) -> Scene:
    return replace(scene, **dict(changes))  # type: ignore[arg-type]


def _saliency(made: xcore.Explained, classifier: Any, samples: Samples, registry: Registry) -> Tensor:
    """(n, H, W) >= 0."""
    found = made.apply(classifier, samples, registry=registry).maps
    total = torch.zeros(len(samples), *samples.images.shape[-2:])
    if found is None:
        return total
    for i, concept in enumerate(made.concepts):
        scale = float(concept.maps.mean()) if concept.maps is not None else 0.0
        if scale > 0 and concept.importance > 0:
            total += concept.importance / scale * found[:, i].nan_to_num()
    return total


def _as_shares(saliency: Tensor) -> Tensor:
    """(n, H, W) with sum 1; even where nothing is salient."""
    flat = saliency.flatten(1).double()
    whole = flat.sum(1, keepdim=True)
    return torch.where(whole > 0, flat / whole.clamp_min(1e-30), torch.ones_like(flat) / flat.shape[1]).view(
        saliency.shape
    )


def _share(saliency: Tensor, masks: Tensor) -> Tensor:
    """(n,) of the saliency inside the masks."""
    return (_as_shares(saliency) * masks).flatten(1).sum(1)


def _named(explained: Sequence[Explanation], of_first: str, of_second: str) -> float | None:
    """By how much the named concepts are more important under the twin that reads them; None if none is named so."""
    shares = []
    for made in explained:
        most = max((abs(c.importance) for c in made.concepts), default=0.0) or 1.0
        shares.append({c.name: c.importance / most for c in made.concepts})
    found = [
        shares[own].get(name, 0.0) - shares[1 - own].get(name, 0.0)
        for own, name in enumerate((of_first, of_second))
        if name in shares[0] or name in shares[1]
    ]
    return float(np.mean(found)) if found else None


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures of each method, mean over pairs, as Markdown."""
    lines = [
        "| method | model contrast: on the animal | named | input dependence | input independence | s |",
        "|---|---|---|---|---|---|",
    ]
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        shown = [mean_interval([row[column] for row in own if row[column] is not None]) for column in COLUMNS]
        lines.append(f"| {label} | {' | '.join(shown)} | {np.mean([row['seconds'] for row in own]):.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
