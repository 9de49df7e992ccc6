"""What to do with negative activations: five treatments, and another layer, compared on trained networks.

    python benchmarks/negative.py --part choose [--photographs DIR]
    python benchmarks/negative.py --part report [--photographs DIR]

CRAFT's dictionary is made from the crops of images of a class at one layer (where it has no positions that the network
reads, also from the images), and judged on held-out images:

- R2: share of the variance of activations that the concepts rebuild;
- share: class logit of what is rebuilt, above that of no concept, over the same of the activations (best: 1);
- error: mean difference of the logits of what is rebuilt from the network's, in standard deviations of the logits;
- same top: share of images in which both have the same top class;
- fidelity: C-muFidelity, the correlation, over sets of half of the concepts, of their summed importance (CRAFT's Sobol
  index) with the loss of class logit without them;
- deletion: area under the class logit when concepts are removed, the most important first, less that in random order,
  in standard deviations of the logits (lower is better).

Activations that the network does not read (the patch tokens behind the last attention of a transformer that reads its
class token) are left out. The part `choose` is minizoo/vit and, with a folder of photographs, one linear bottleneck of
efficientnet-lite0 with its ImageNet weights. The part `report` holds two other transformers of the minizoo, and other
layers and classes of efficientnet-lite0. The folder has one folder of photographs for each of the classes zebra,
Arabian camel, beaver and bison; `benchmarks/photographs.py OUT` makes one, OUT/animals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_craft.activations import SplitClassifier, read_activations, split_at
from xcore_craft.craft import code, with_images
from xcore_craft.crops import crop_grid
from xcore_craft.factorise import factorise, factorise_signed, nnls
from xcore_craft.importance import sobol_importance
from xcore_lens.factorise import convex_nmf

from xcore.contract import Classifier, Ref, Samples, XcoreError
from xcore.inputs.class_names import find_class
from xcore.registry import load_registry

Array = NDArray[np.float64]

K, SETS, ORDERS = 10, 40, 8
TREATMENTS = ("semi-nmf", "convex-nmf", "shift", "relu", "split")
ALONE = "semi-nmf of crops alone"
BETTER: dict[str, Callable[[float], float]] = {
    "R2": lambda x: -x,
    "share": lambda x: abs(x - 1),
    "error": lambda x: x,
    "same top": lambda x: -x,
    "fidelity": lambda x: -x,
    "deletion": lambda x: x,
}
"""Figure -> what is smallest for the best treatment."""
FIGURES = tuple(BETTER)
DATA = {
    "minizoo/vit": "minizoo",
    "minizoo/vit-cats": "minizoo/cats-apples",
    "minizoo/vit-birds": "minizoo/shortcut-birds",
}
CHOOSE = (("minizoo/vit", ("blocks.2", "blocks.3", "norm"), ("zebra", "horse", "swan")),)
REPORT = (
    ("minizoo/vit-cats", ("blocks.4", "blocks.5", "norm"), ("cat", "dog")),
    ("minizoo/vit-birds", ("blocks.4", "blocks.5", "norm"), ("landbird", "waterbird")),
)
LITE = {
    "choose": (("blocks.5",), ("zebra", "Arabian camel")),
    "report": (("blocks.4", "blocks.6"), ("beaver", "bison")),
}
"""Part -> layers and classes of efficientnet-lite0."""


@dataclass(frozen=True, eq=False)
class Found:
    """A dictionary: activations ~ codes @ atoms + offset."""

    split: SplitClassifier
    atoms: Tensor
    offset: Tensor
    codes_of: Callable[[Tensor], Tensor]
    """Activations (n, P, C) -> codes (n, P, k)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("choose", "report"), default="choose")
    parser.add_argument("--photographs", type=Path, help="one folder of photographs for each of some ImageNet classes")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    arguments = parser.parse_args()
    registry, tables = load_registry(), []
    for name, layers, classes in CHOOSE if arguments.part == "choose" else REPORT:
        if arguments.only not in name:
            continue
        classifier, data = registry.create("classifier", Ref(name)), registry.create("dataset", Ref(DATA[name]))
        for layer in layers:
            pairs = [(data.samples(c, "explain", 40, 0), data.samples(c, "heldout", 20, 0), c) for c in classes]
            tables.append(_table(classifier, name, layer, pairs))
    if arguments.photographs and arguments.only in "efficientnet-lite0":
        classifier = registry.create("classifier", Ref("efficientnet-lite0"))
        data = registry.create("dataset", Ref(f"folder:{arguments.photographs}")).framed(classifier.framing)
        layers, classes = LITE[arguments.part]
        for layer in layers:
            folders = [(find_class(c, data.classes), c) for c in classes]
            pairs = [(data.samples(f, "explain", 16, 0), data.samples(f, "heldout", 10, 0), c) for f, c in folders]
            tables.append(_table(classifier, "efficientnet-lite0", layer, pairs))
    means = np.mean([np.column_stack([rows, _ranks(rows)]) for rows in tables], axis=0)
    print("\n| mean over all tables | " + " | ".join(FIGURES) + " | rank (1 = best of five) |")
    print("|---" * (len(FIGURES) + 2) + "|")
    for treatment, row in zip(TREATMENTS, means, strict=True):
        print(f"| {treatment} | " + " | ".join(f"{x:.2f}" for x in row) + " |")


def _table(classifier: Classifier, name: str, layer: str, pairs: Sequence[tuple[Samples, Samples, str]]) -> Array:
    """Print one table; the figures of the treatments in it."""
    print(f"\n{name}, `{layer}`, {', '.join(c for *_, c in pairs)}\n\n| | " + " | ".join(FIGURES) + " |")
    print("|---" * (len(FIGURES) + 1) + "|", flush=True)

    def row(label: str, at: str, treatment: str) -> list[float]:
        measured = [_measure(classifier, at, *pair, treatment) for pair in pairs]
        figures = [float(np.mean([m[f] for m in measured])) for f in FIGURES]
        print(f"| {label} | " + " | ".join(f"{x:.2f}" for x in figures) + " |", flush=True)
        return figures

    rows = [row(treatment, layer, treatment) for treatment in TREATMENTS]
    if not split_at(classifier, layer, pairs[0][0]).positions(pairs[0][0].images.shape[-2:]):
        row(ALONE, layer, ALONE)
    other = nonnegative_layer(classifier, layer, pairs[0][0])
    if other:
        row(f"nmf at `{other}`", other, "relu")
    else:
        print("| no layer is without negative activations |" + " |" * len(FIGURES))
    return np.array(rows)


def _ranks(rows: Array) -> Array:
    """The mean rank of each treatment over the figures; equal ones share their ranks."""
    keys = np.array([[BETTER[f](x) for f, x in zip(FIGURES, row, strict=True)] for row in rows])
    return np.asarray([(keys < key).sum(0) + ((keys == key).sum(0) + 1) / 2 for key in keys]).mean(1)


def nonnegative_layer(classifier: Classifier, layer: str, samples: Samples) -> str:
    """The nearest cut of the network whose activations are not negative; "" if there is none."""
    names = list(classifier.layers)
    here = names.index(layer)
    for name in sorted(names, key=lambda n: (abs(names.index(n) - here), -names.index(n))):
        try:
            probe = classifier.open(name)
            if not getattr(probe, "is_cut", True):
                continue
            a = probe.activations(samples.take(slice(4)))
        except XcoreError:
            continue
        if float(a.min()) >= 0 and a.ndim > 2:
            return name
    return ""


def find(classifier: Classifier, layer: str, samples: Samples, treatment: str) -> Found:
    """CRAFT's dictionary of the crops of images."""
    grid = crop_grid((samples.images.shape[-2], samples.images.shape[-1]))
    kept: Any = treatment if treatment in ("shift", "relu") else "semi-nmf"
    split, images, crops = read_activations(
        classifier, split_at(classifier, layer, samples), layer, samples, grid, grid.all_crops(len(samples)), kept
    )
    rows = crops if treatment == ALONE else with_images(split, images, crops, grid)
    channels, flat_rows = crops.shape[1], rows.double().numpy()
    offset = split.shift if split.shift is not None else torch.zeros(channels)
    if treatment == "split":  # positive and negative parts as channels of their own
        wide = torch.from_numpy(factorise(_parts(flat_rows), K, 0).atoms)

        def codes_of_parts(a: Tensor) -> Tensor:
            flat = _parts(a.reshape(-1, channels).double().numpy())
            return torch.from_numpy(nnls(flat, wide.numpy())).float().reshape(*a.shape[:2], -1)

        return Found(split, (wide[:, :channels] - wide[:, channels:]).float(), offset, codes_of_parts)
    if treatment == "convex-nmf":
        atoms = convex_nmf(flat_rows / np.sqrt(np.mean(flat_rows**2)), K, 0).atoms
    else:
        atoms = (factorise_signed if kept == "semi-nmf" else factorise)(flat_rows, K, 0).atoms
    w = torch.from_numpy(atoms).float()
    floor = split.floor if split.floor is not None else torch.full((channels,), -torch.inf)
    return Found(split, w, offset, lambda a: code(torch.maximum(a, floor) - offset, w))


def _parts(rows: Array) -> Array:
    return np.concatenate([np.maximum(rows, 0), np.maximum(-rows, 0)], axis=1)


def _measure(
    classifier: Classifier, layer: str, explained: Samples, heldout: Samples, cls: str, treatment: str
) -> dict[str, float]:
    """The figures of one class."""
    target = classifier.classes.index(cls)
    found = find(classifier, layer, explained, treatment)
    split, plain = found.split, split_at(classifier, layer, explained)
    importance = _importance(found, plain, explained, target)

    a = plain.to_rows(plain.probe.activations(heldout))
    u = found.codes_of(a)
    rebuilt = u @ found.atoms + found.offset
    read = split.read(a)
    with torch.no_grad():
        before, after = plain.head(a, heldout), plain.head(rebuilt, heldout)
        nothing = plain.head(found.offset.expand_as(a), heldout)
    spread = float(before.std())
    rest = float((read - split.read(rebuilt)).square().sum() / (read - read.mean((0, 1))).square().sum())
    explained_logit = float((after - nothing)[:, target].mean() / (before - nothing)[:, target].mean())
    fidelity, deletion = _removal(found, plain, heldout, a, u, target, importance)
    return {
        "R2": 1 - rest,
        "share": explained_logit,
        "error": float((after - before).abs().mean()) / spread,
        "same top": float((after.argmax(1) == before.argmax(1)).float().mean()),
        "fidelity": fidelity,
        "deletion": deletion / spread,
    }


def _importance(found: Found, plain: SplitClassifier, samples: Samples, target: int) -> Array:
    """CRAFT's importance (k,), from the first images."""
    few = samples.take(slice(12))
    a = plain.to_rows(plain.probe.activations(few))
    codes = found.codes_of(a)
    made = sobol_importance(
        replace(plain, shift=found.offset),
        a - found.offset,
        codes,
        found.atoms,
        few,
        target,
        n=16,
        seed=0,
        sampler="sobol",
        done=lambda i: None,
    )
    return np.asarray(made.total.mean(0))


def _removal(
    found: Found, plain: SplitClassifier, heldout: Samples, a: Tensor, u: Tensor, target: int, importance: Array
) -> tuple[float, float]:
    """C-muFidelity and C-deletion in codes; what no concept rebuilds is kept."""
    k, rng = len(found.atoms), np.random.default_rng(0)
    sets = np.stack([np.isin(np.arange(k), rng.choice(k, k // 2, replace=False)) for _ in range(SETS)])
    orders = [np.argsort(-importance, kind="stable"), *(rng.permutation(k) for _ in range(ORDERS))]
    curves = np.stack([[np.isin(np.arange(k), order[:j]) for j in range(k + 1)] for order in orders]).reshape(-1, k)
    asked = torch.from_numpy(np.concatenate([sets, curves]).astype(np.float32))
    correlations, areas = [], []
    for i in range(min(12, len(heldout))):
        like = heldout.take([i])
        many = Samples("image", like.images.expand(len(asked), -1, -1, -1), like.ids * len(asked))
        with torch.no_grad():
            rows = a[i] - (asked[:, None, :] * u[i]) @ found.atoms
            y = plain.head(rows, many)[:, target].double().numpy()
        full, of_sets, of_curves = y[SETS], y[:SETS], y[SETS:].reshape(len(orders), k + 1)
        correlations.append(_correlation(sets @ importance, full - of_sets))
        area = (of_curves[:, 1:] + of_curves[:, :-1]).sum(1) / 2 / k
        areas.append(area[0] - area[1:].mean())
    return float(np.mean(correlations)), float(np.mean(areas))


def _correlation(one: Array, two: Array) -> float:
    constant = min(one.std(), two.std()) <= 1e-6 * max(float(np.abs(two).max()), 1e-12)
    return 0.0 if constant else float(np.corrcoef(one, two)[0, 1])


if __name__ == "__main__":
    main()
