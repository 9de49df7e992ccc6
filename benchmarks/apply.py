"""Whether concepts are found again in new pictures: `python benchmarks/apply.py [METHOD ...]` prints it as Markdown.

Each method explains a class of the minizoo by 30 pictures. Its concepts are then looked for (`Explained.apply`) in 25
new pictures of each class, and their strengths are compared with what was painted: the coat of the animal. Which
concept of an explanation stands for the coat is chosen by the AUC on the even pictures; everything that is printed is
measured on the odd ones. Where a concept names the coat, that one is measured, too.

- AUC: pictures with the coat against those without, of all classes. 0.5 is chance.
- elsewhere: the same without the pictures of the explained class, so that knowing the class does not help.
- pointing, IoU: in the pictures with the coat, whether the map is highest on the animal, and the overlap of the
  animal's mask with as many of the map's highest pixels as the mask has (with the whole mask of eac). The chance of
  both is beside them: the mask's share of the picture, and the overlap of pixels drawn at random.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from xcore_minizoo.captions import phrases
from xcore_minizoo.data import factor_values

import xcore
from xcore.contract import Explanation, NotApplicable, Presence, Ref, Samples
from xcore.registry import load_registry

COATS = {"zebra": "striped", "leopard": "spotted", "cow": "patched"}
"""Explained class -> the coat of its animals."""
NETWORKS = ("minizoo/clean", "minizoo/vit")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "craft": ("craft", {}),
    "lens": ("lens", {}),
    "lens, pca": ("lens", {"extractor": "pca"}),
    "tcav": ("tcav", {}),
    "rlpo": ("rlpo", {"steps": 20}),
    "rlpo, ranking": ("rlpo", {"rank": "prior", "steps": 0}),
    "eac": ("eac", {}),
    "texplain": ("texplain", {}),
}
"""Label -> method and options."""
WITH = {
    "rlpo": {"generator": "minizoo/diffusion", "models": {"image-text": "minizoo/clip"}},
    "texplain": {"models": {"text-decoder": "minizoo/decoder"}},
}
EXPLAINED, NEW = 30, 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    asked = parser.parse_args()
    registry = load_registry()
    data = registry.create("dataset", Ref("minizoo"))
    parts = [data.samples(cls, "heldout", NEW, 0) for cls in data.classes]
    new = Samples.concat(parts)
    scenes = [scene for part in parts for scene in part.meta["factors"]]
    animals = torch.cat([part.meta["masks"][:, 0] for part in parts]) > 0.5
    print(
        "| network | method | class | AUC | AUC elsewhere | by name | elsewhere | pointing | IoU | explain, apply (s) |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for network in asked.network or NETWORKS:
        classifier = registry.create("classifier", Ref(network))
        for label in asked.methods or METHODS:
            method, options = METHODS[label]
            for cls, coat in COATS.items():
                begun = time.perf_counter()
                try:
                    explained = xcore.explain(
                        method, classifier, data, target=cls, n=EXPLAINED, options=options, **WITH.get(method, {})
                    )
                    middle = time.perf_counter()
                    found = explained.apply(classifier, new)
                except NotApplicable as reason:
                    print(f"| {network} | {label} | {cls} | n/a: {reason.message} |")
                    continue
                took = f"{middle - begun:.0f}, {time.perf_counter() - middle:.0f}"
                has = np.array([scene["pattern"] == coat for scene in scenes])
                elsewhere = np.array([data.classes[int(i)] != cls for i in new_labels(parts)])
                cells = measured(explained, found, coat, has, elsewhere, animals)
                print(f"| {network} | {label} | {cls} | {' | '.join(cells)} | {took} |", flush=True)


def new_labels(parts: list[Samples]) -> Tensor:
    """(N,) the class of each new picture."""
    return torch.cat([part.labels for part in parts if part.labels is not None])


def measured(
    explained: Explanation, found: Presence, coat: str, has: np.ndarray, elsewhere: np.ndarray, animals: Tensor
) -> list[str]:
    """The cells of a row."""
    strength = found.strength.nan_to_num().numpy()
    even = np.arange(len(has)) % 2 == 0
    odd = ~even
    best = int(np.argmax([roc_auc_score(has[even], s[even]) for s in strength.T]))
    named = [i for i, concept in enumerate(explained.concepts) if names(concept.name, coat)]
    cells = []
    for i in (best, named[0] if named else None):
        for rows in (odd, odd & elsewhere):
            cells.append("" if i is None else f"{roc_auc_score(has[rows], strength[rows, i]):.2f}")
    return [*cells, *pointed(found, best, has & odd, animals)]


def names(name: str, coat: str) -> bool:
    """Whether a concept names the coat and nothing else; words of texplain are lemmas (striped: stripe)."""
    known = phrases()
    if name in known:
        return factor_values(known[name]) == {f"pattern={coat}"}
    return name in {coat, {"striped": "stripe", "spotted": "spot", "patched": "patch"}[coat]}


def pointed(found: Presence, concept: int, rows: np.ndarray, animals: Tensor) -> list[str]:
    """How often the map is highest on the animal, and the mean overlap; the chance of both in parentheses."""
    if found.maps is None:
        return ["", ""]
    chosen = torch.from_numpy(rows)
    maps, masks = found.maps[:, concept][chosen].flatten(1), animals[chosen].flatten(1)
    hits, overlaps = [], []
    for places, mask in zip(maps, masks, strict=True):
        if not places.any():  # the map shows nothing
            hits.append(0.0)
            overlaps.append(0.0)
            continue
        hits.append(float(mask[places == places.max()].float().mean()))
        shown = places > 0
        if len(places.unique()) > 2:  # no mask: as many of its highest pixels as the animal has
            shown = torch.zeros_like(mask)
            shown[places.argsort(descending=True, stable=True)[: int(mask.sum())]] = True
            shown &= places > 0
        overlaps.append(float((shown & mask).sum() / (shown | mask).sum()))
    share = masks.float().mean(1)
    chance = float((share / (2 - share)).mean())
    return [f"{np.mean(hits):.2f} ({float(share.mean()):.2f})", f"{np.mean(overlaps):.2f} ({chance:.2f})"]


if __name__ == "__main__":
    main()
