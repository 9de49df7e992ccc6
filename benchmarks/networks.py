"""Which methods explain which common networks as they are: with default options, at their default layers.

    python benchmarks/networks.py [--only NAME] [--methods craft,lens,eac,tcav]

Networks of timm and torchvision with random weights from a seed see painted pictures of the minizoo: convolutional
ones at 128 pixels, so that the table is done in minutes (--side 224 takes their own size), transformers at the size
that they are built for. Random weights can hardly tell pictures apart, so the figures say that a method works, and not
how well. Every cell is checked:

- head: the network, continued from the layer that the method used, gives the logits (largest difference, at most 1e-4
  of the largest logit);
- maps: a concept has a map, and it is not the same everywhere;
- R2 (craft, lens): share of the variance that the concepts rebuild of the activations that the network reads there;
- efficiency (eac): the Shapley values of an image add up to the class probability of the whole image less that of the
  empty one;
- affine (tcav): the head above the layer is no affine function, so that sensitivities differ between pictures.

A cell is ok if all of its checks hold. Otherwise it shows the line that the method prints, or the check that fails.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from xcore_craft.activations import split_at
from xcore_lens.layer import is_affine

from xcore.contract import Classifier, Explanation, Ref, Samples, Task, XcoreError
from xcore.registry import Registry, load_registry
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets

NETWORKS = (
    "timm:resnet18",
    "timm:resnet26",
    "timm:vgg11",
    "timm:densenet121",
    "timm:efficientnet_b0",
    "timm:tf_efficientnet_lite0",
    "timm:mobilenetv3_small_100",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224",
    "timm:deit_tiny_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:regnetx_002",
    "torchvision:googlenet",
    "torchvision:resnet18",
)
FIXED_SIZE = ("vit", "deit", "swin")
METHODS = ("craft", "lens", "eac", "tcav")
CLASSES = ("zebra", "tiger", "leopard", "horse", "cow")
CONCEPTS = ("striped texture", "spotted texture", "grass")
IMAGES, IMAGES_OF_EAC, POOL = 6, 1, 30
HEAD = 1e-4
"""Largest difference of the head's logits from the network's, as a share of the largest logit."""
EFFICIENT = 1e-5
"""Largest difference of the sum of Shapley values from the gain in class probability."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--side", type=int, default=128, help="side of the pictures for convolutional networks")
    parser.add_argument("--details", action="store_true", help="also print the notes of every explanation")
    arguments = parser.parse_args()
    registry, methods = load_registry(), arguments.methods.split(",")
    start, whole, networks = time.perf_counter(), 0, [n for n in NETWORKS if arguments.only in n]
    print(f"| network | {' | '.join(methods)} | seconds |\n|---|{'---|' * (len(methods) + 1)}", flush=True)
    for name in networks:
        began, cells = time.perf_counter(), {}
        classifier = _classifier(registry, name, arguments.side)
        scene = Scene(registry, classifier)
        for method in methods:
            cells[method] = _cell(registry, classifier, scene, method, arguments.details)
        whole += all(good for good, _ in cells.values())
        seconds = time.perf_counter() - began
        print(f"| {name} | {' | '.join(text for _, text in cells.values())} | {seconds:.0f} |", flush=True)
    print(f"\n{whole} of {len(networks)} networks are ok in every cell; {time.perf_counter() - start:.0f} s.")


class Scene:
    """The pictures that one network sees, in its input size."""

    def __init__(self, registry: Registry, classifier: Any) -> None:
        data = registry.create("dataset", Ref("minizoo"))
        height, width = classifier.framing.size

        def sized(samples: Samples) -> Samples:
            images = torch.nn.functional.interpolate(samples.images, size=(height, width), mode="bilinear")
            return Samples("image", images, samples.ids)

        self.samples = sized(data.samples(CLASSES[0], "explain", IMAGES, 0))
        others = [sized(data.samples(c, "train", 2 * POOL // (len(CLASSES) - 1), 0)) for c in CLASSES[1:]]
        self.data = LiveData(self.samples, CLASSES[0], Samples.concat(others), ())
        self.concepts = {name: sized(data.concept(name, 12, 0)) for name in CONCEPTS}

    def task(self, registry: Registry, classifier: Classifier, method: str, folder: Path) -> Task:
        segmenter = registry.create("model", Ref("felzenszwalb")) if method == "eac" else None
        return Task(
            classifier,
            classifier.default_layer,
            0,
            self.samples.take(slice(IMAGES_OF_EAC if method == "eac" else IMAGES)),
            RandomSets(self.data, CLASSES[0], "train", seed=0, pool_size=POOL),
            TrainingData(self.data),
            seed=0,
            concepts=self.concepts,
            model=lambda role: segmenter,
            workdir=folder,
        )


def _classifier(registry: Registry, name: str, side: int) -> Any:
    """The network with random weights."""
    size = {} if any(word in name for word in FIXED_SIZE) else {"input_size": side}
    return registry.create("classifier", Ref(name, {"pretrained": False, "classes": CLASSES, **size}))


def _cell(registry: Registry, classifier: Any, scene: Scene, method: str, details: bool) -> tuple[bool, str]:
    """Whether all checks of a cell hold, and what the table shows."""
    with tempfile.TemporaryDirectory() as folder:
        task = scene.task(registry, classifier, method, Path(folder))
        try:
            made = registry.create("explainer", Ref(method)).explain(task)
        except XcoreError as error:
            return False, str(error).replace("\n", " ")
        if details:
            print(f"<!-- {method}: {' / '.join(made.notes)} -->")
        return CHECKS[method](task, made)


def _of_dictionary(task: Task, made: Explanation) -> tuple[bool, str]:
    """craft and lens."""
    dictionary = made.dictionary
    assert dictionary is not None
    split = split_at(task.classifier, dictionary.layer, task.samples)
    rows = split.read(split.to_rows(split.probe.activations(task.samples)))
    rest = rows - split.read(dictionary.codes) @ dictionary.atoms
    r2 = 1 - float(rest.square().sum() / (rows - rows.mean((0, 1))).square().sum())
    apart, varies = _head(task, dictionary.layer), _maps_vary(made)
    semi = any("negative" in note for note in made.notes)
    text = f"`{dictionary.layer}`, R2 {r2:.2f}{', semi-NMF' if semi else ''}"
    return _verdict({"head": apart <= HEAD, "maps": varies, "R2": r2 > 0}, text, f"head {apart:.0e}")


def _of_segments(task: Task, made: Explanation) -> tuple[bool, str]:
    """eac."""
    apart = 0.0
    for part, entry in zip(made.parts, made.trace, strict=True):
        total = sum(c.importance for c in part.concepts)
        apart = max(apart, abs(total - (float(entry["whole"]) - float(entry["empty"]))))
    segments = made.concepts[0].evidence["segments"]
    text = f"{segments:.0f} segments, efficiency {apart:.0e}"
    return _verdict({"efficiency": apart <= EFFICIENT, "maps": _maps_vary(made)}, text)


def _of_directions(task: Task, made: Explanation) -> tuple[bool, str]:
    """tcav."""
    layer = next(iter(made.concepts[0].directions))
    probe, few = task.classifier.open(layer), task.samples.take(slice(4))
    apart, affine = _head(task, layer), is_affine(probe, probe.activations(few), few)
    checks = {"head": apart <= HEAD, "the head is affine": not affine, "maps": _maps_vary(made)}
    return _verdict(checks, f"`{layer}`", f"head {apart:.0e}")


CHECKS: dict[str, Callable[[Task, Explanation], tuple[bool, str]]] = {
    "craft": _of_dictionary,
    "lens": _of_dictionary,
    "eac": _of_segments,
    "tcav": _of_directions,
}


def _verdict(checks: dict[str, bool], *figures: str) -> tuple[bool, str]:
    """Whether all checks hold, and what the table shows: the first figure, or what fails and all figures."""
    failed = [name for name, holds in checks.items() if not holds]
    if not failed:
        return True, f"ok: {figures[0]}"
    return False, f"fails: {', '.join(failed)} ({', '.join(figures)})"


def _head(task: Task, layer: str) -> float:
    """Largest difference of the head's logits from the network's, as a share of the largest logit."""
    probe = task.classifier.open(layer)
    logits = task.classifier.logits(task.samples)
    with torch.no_grad():
        again = probe.head(probe.activations(task.samples), task.samples)
    return float((again - logits).abs().max() / logits.abs().max())


def _maps_vary(made: Explanation) -> bool:
    """Whether the map of some concept in some picture is not the same everywhere."""
    concepts = [c for explanation in (made, *made.parts) for c in explanation.concepts]
    maps = [c.maps for c in concepts if c.maps is not None]
    return any(float(m.flatten(1).std(1).max()) > 1e-6 * float(m.abs().max()) for m in maps if bool(m.any()))


if __name__ == "__main__":
    main()
