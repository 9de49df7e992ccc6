"""Do TCAV and blended textures agree on what the painted textures do to a class of `efficientnet-lite0`?

``python benchmarks/blended_textures.py PICTURES`` prints a table for each class; `PICTURES` is what
benchmarks/photographs.py wrote. For each of twelve painted textures it has the effect by TCAV with default options,
over several draws of paintings and random sets, and the effect on the margin of blending the texture into photographs
of the class (on the animal, on what is around it, and everywhere) and of other animals (on the animal). Both are
compared with the other textures.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import torch
from scipy.stats import spearmanr
from torch import Tensor
from xcore_evidence.blended import blended_evidence
from xcore_evidence.estimates import Evidence

from xcore import explain, session
from xcore.contract import Ref, Samples, Task
from xcore.inputs.class_names import find_class
from xcore.inputs.images import read_picture

CLASSES = ("zebra", "beaver")
SIGN = {1: "+", -1: "-", 0: ""}
OF_EACH = 3
"""Photographs of each of the other animals."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Compares TCAV with textures that are blended into photographs.")
    parser.add_argument("pictures", type=Path, help="folder that benchmarks/photographs.py wrote")
    parser.add_argument("--classes", default=",".join(CLASSES))
    parser.add_argument("--draws", type=int, default=5, help="draws of paintings and random sets for TCAV; 0: none")
    parser.add_argument("--images", type=int, default=20, help="photographs that textures are blended into")
    parser.add_argument("--share", type=float, default=0.5, help="how much of the texture is seen")
    args = parser.parse_args()
    classifier = session.make("classifier", Ref("efficientnet-lite0"))
    for cls in args.classes.split(","):
        by_tcav = tcav(classifier, args.pictures, cls, args.draws)
        by_blend = blends(classifier, args.pictures, cls, args.images, args.share)
        table(cls, by_tcav, by_blend, args)


def tcav(classifier: Any, pictures: Path, cls: str, draws: int) -> dict[str, list[tuple[float, bool]]]:
    """Texture -> (effect, whether it is outside its null) in each draw."""
    data = session.make("dataset", Ref(f"folder:{pictures / 'animals'}")).framed(classifier.framing)
    target = find_class(cls, classifier.classes, classifier.aliases)
    found: dict[str, list[tuple[float, bool]]] = {name: [] for name in photographs.PAINTERS}
    for draw in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            photographs.write_textures(Path(folder), 20, draw)
            samples = data.samples(cls, "explain", 60, draw)
            options = {"folders": (folder,), "maps": 0}
            explained = explain("tcav", classifier, samples, target=target, seed=draw, options=options)
        for concept in explained.concepts:
            found[concept.name].append((concept.evidence["effect"], bool(concept.evidence["outside"])))
    return found


def blends(classifier: Any, pictures: Path, cls: str, n: int, share: float) -> dict[str, Evidence]:
    """Where the textures are blended in -> the evidence of it."""

    def read(folder: str, name: str) -> Tensor:
        files = sorted((pictures / folder / name).iterdir())[:n]
        return torch.stack([read_picture(file, classifier.framing) for file in files])

    def samples(folder: str, name: str) -> Samples:
        pixels = read(folder, name)
        return Samples("image", pixels, tuple(f"{folder}/{name}/{i}" for i in range(len(pixels))))

    names = [c for c in photographs.ANIMALS if c != cls]
    others = Samples.concat([samples("animals", c).take(range(OF_EACH)) for c in names])
    target = classifier.classes.index(find_class(cls, classifier.classes, classifier.aliases))
    task = Task(
        classifier=classifier,
        layer=classifier.default_layer,
        target=target,
        samples=samples("animals", cls),
        random_set=lambda n, index, *rest: others,
        data=None,  # type: ignore[arg-type]
        seed=0,
    )
    materials = {name: samples("textures", name) for name in photographs.PAINTERS}
    animal = read("masks", cls)[:, 0]
    places = {"animal": animal, "around it": 1 - animal, "everywhere": None}
    found = {
        place: blended_evidence(task, materials, share=share, images=n, masks=masks) for place, masks in places.items()
    }
    coats = torch.cat([read("masks", c)[:OF_EACH, 0] for c in names])
    return {**found, "other animals": blended_evidence(task, materials, share=share, into=others, masks=coats)}


def table(
    cls: str, by_tcav: dict[str, list[tuple[float, bool]]], by_blend: dict[str, Evidence], args: argparse.Namespace
) -> None:
    """Print the effects of all textures on one class, and how far the two kinds agree."""
    first = next(iter(by_blend.values()))
    print(
        f"\n{cls}: {first.n} photographs, share {args.share:g}, gap {first.gap:.1f} logits, TCAV in {args.draws} draws"
    )
    print(f"| texture | TCAV | outside | {' | '.join(f'blended: {place}' for place in by_blend)} |")
    print("|---" * (3 + len(by_blend)) + "|")
    means = {name: float(np.mean([effect for effect, _ in rows] or [0.0])) for name, rows in by_tcav.items()}
    for name in sorted(means, key=lambda n: -means[n]):
        outside = sum(is_outside for _, is_outside in by_tcav[name])
        cells = [f"{e.of(name).effect:+.2f} {SIGN[e.of(name).mark]}".strip() for e in by_blend.values()]
        print(f"| {name} | {means[name]:+.3f} | {outside} of {args.draws} | {' | '.join(cells)} |")
    for place, evidence in by_blend.items() if args.draws else ():
        effects = [evidence.of(name).effect for name in means]
        same = [np.sign(e) == np.sign(m) for e, m in zip(effects, means.values(), strict=True)]
        marked = [s for s, name in zip(same, means, strict=True) if any(o for _, o in by_tcav[name])]
        rank = spearmanr(list(means.values()), effects)[0]
        print(
            f"{place}: the same sign for {sum(same)} of {len(same)} textures, for {sum(marked)} of {len(marked)} that "
            f"TCAV has outside their null at least once; rank correlation {rank:+.2f}"
        )


if __name__ == "__main__":
    main()
