"""What `efficientnet-lite0` shows on real weights: that logits are timm's, and which painted textures zebras have.

``python benchmarks/imagenet_lite.py PICTURES`` prints three tables; `PICTURES` is what benchmarks/photographs.py wrote.

1. The largest difference between our logits and those of timm's own pipeline, on pictures of any size.
2. TCAV with default options: the rank of black and white stripes among all textures, for five draws: other paintings,
   other random sets.
3. How many segments EAC finds in the pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import photographs
import torch
from PIL import Image

from xcore import explain, session
from xcore.contract import Ref, Samples
from xcore.inputs.class_names import find_class
from xcore.inputs.images import read_picture

STRIPES = "stripes-black-white"
CLASSES = ("zebra", "hare", "beaver", "Arabian_camel")
"""Black and white stripes should come first for zebra, and never for the others."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Checks efficientnet-lite0 on real photographs.")
    parser.add_argument("pictures", type=Path, help="folder that benchmarks/photographs.py wrote")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--only", choices=("logits", "tcav", "segments"), help="print one table only")
    args = parser.parse_args()
    classifier = session.make("classifier", Ref("efficientnet-lite0"))
    if args.only in (None, "logits"):
        logits(classifier, args.pictures)
    if args.only in (None, "tcav"):
        tcav(classifier, args.pictures, args.draws)
    if args.only in (None, "segments"):
        segments(args.pictures, classifier)


def logits(classifier: Any, pictures: Path) -> None:
    """Compare logits with those of timm's own pipeline."""
    from timm.data import create_transform, resolve_model_data_config

    module = classifier.model.module
    transform = create_transform(**resolve_model_data_config(module))
    files = sorted(pictures.glob("photographs/*")) + sorted(pictures.glob("animals/*/00?.jpg"))
    worst, sizes = 0.0, set()
    for file in files:
        with Image.open(file) as opened, torch.no_grad():
            sizes.add(opened.size)
            expected = module(transform(opened.convert("RGB"))[None])
        ours = classifier.logits(Samples("image", read_picture(file, classifier.framing)[None], (str(file),)))
        worst = max(worst, float((ours - expected).abs().max()))
    print(f"logits: {len(files)} pictures of {len(sizes)} sizes, largest difference from timm's pipeline {worst:.1e}")


def tcav(classifier: Any, pictures: Path, draws: int) -> None:
    """Rank the textures for some classes with default options, several times."""
    data = session.make("dataset", Ref(f"folder:{pictures / 'animals'}")).framed(classifier.framing)
    found: dict[str, list[Any]] = {cls: [] for cls in CLASSES}
    for draw in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            photographs.write_textures(Path(folder), 20, draw)
            for cls in CLASSES:
                samples = data.samples(cls, "explain", 60, draw)
                target = find_class(cls, classifier.classes, classifier.aliases)
                options = {"folders": (folder,), "maps": 0}
                found[cls].append(explain("tcav", classifier, samples, target=target, seed=draw, options=options))
    print(
        f"\ntcav at {classifier.default_layer}, {len(photographs.PAINTERS)} textures, {draws} draws: rank of {STRIPES}"
    )
    for cls, each in found.items():
        ranks = [[c.name for c in e.concepts].index(STRIPES) + 1 for e in each]
        evidence = [next(c for c in e.concepts if c.name == STRIPES).evidence for e in each]
        effects = " ".join(f"{e['effect']:+.2f}{' *'[e['mark'] > 0]}" for e in evidence)
        first = Counter(e.concepts[0].name for e in each)
        others = ", ".join(f"{name} {n}x" for name, n in first.most_common())
        print(f"{cls:15} rank {ranks}  effect {effects}  TS {[round(e['ts'], 2) for e in evidence]}  first: {others}")
    print("* raises the class more than random sets (Holm)")


def segments(pictures: Path, classifier: Any) -> None:
    """Count the segments of photographs and of zebras."""
    from xcore_eac.segmenters import Felzenszwalb

    segmenter = Felzenszwalb()
    print("\nsegments of eac's default segmenter, and the share of the picture that the largest one covers")
    zebras = sorted(pictures.glob("animals/zebra/*.jpg"))
    for kind, files in (("photographs", sorted(pictures.glob("photographs/*"))), ("zebras", zebras)):
        counts, largest = [], []
        for file in files:
            masks = segmenter.segment(read_picture(file, classifier.framing))
            counts.append(len(masks))
            largest.append(float(masks.float().mean((1, 2)).max()))
        print(f"{kind}: {counts}\n  {min(counts)} to {max(counts)}, largest share {max(largest):.2f}")


if __name__ == "__main__":
    main()
