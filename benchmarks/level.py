"""How often the tests of TCAV reject random sets that are made like the sets they judge: the level of its p-values.

    python benchmarks/level.py --classifier minizoo/clean
    python benchmarks/level.py --classifier minizoo/vit

Sets of held-out pictures of other classes that neither the negatives nor the null distribution hold: *coherent* ones
(a random picture and its nine nearest neighbours, by the activations and by the image-text model) and *mixed* ones;
and *drawn* ones (ten drawings of one phrase of the vocabulary, all phrases, new noise), which are compared with
drawings of the other phrases. For each null distribution the table gives the share of sets with p <= .05 and p <= .01
on each side, its mean over the classes and 95 % t interval over them, and the share of families of 43 sets in which
Holm's correction marks any. The expected shares are .05, .01 and, for both sides together, .10.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize
from xcore_evidence.statistics import half_width, signed_marks
from xcore_tcav.inference import rank_p
from xcore_tcav.scorer import Scorer, nearest

from xcore.contract import Cell, Ref, Samples
from xcore.registry import load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

CLASSES = ("zebra", "tiger", "leopard", "horse", "cow", "panther", "swan", "clownfish")
N, SETS, POOL = 10, 129, 240
FAMILY = 43
DATA_SEED = 17
"""Seed of the pictures that are tested, other than that of the random sets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", default="minizoo/clean")
    parser.add_argument("--run", type=Path, default=Path("runs/level"), help="directory that keeps the drawings")
    parser.add_argument("--drawn", action="store_true", help="also drawn sets, for which 1,150 pictures are drawn")
    arguments = parser.parse_args()
    bench = Workbench(load_registry(), Store(arguments.run))
    shares: dict[tuple[str, str], list[list[float]]] = {}
    drawings = None
    for cls in CLASSES:
        cell = _cell(arguments.classifier, cls)
        classifier, data = bench.classifier(cell), bench.dataset(cell.data)
        random_set = bench.random_sets(cell, "heldout")
        scorer = Scorer(
            classifier.open(classifier.default_layer), bench.target(cell), bench.heldout(cell), random_set, folds=0
        )
        known = {
            i for purpose in ("negative", "null") for k in range(200) for i in random_set(N, k, "as-is", purpose).ids
        }
        fresh = [data.samples(c, "heldout", 120, DATA_SEED) for c in data.classes if c != cls]
        pool = Samples.concat(
            [part.take([i for i, name in enumerate(part.ids) if name not in known]) for part in fresh]
        )
        rng = np.random.default_rng(2)
        pool = pool.take(sorted(rng.permutation(len(pool))[:POOL].tolist()))
        anchors = rng.permutation(len(pool))[:SETS]
        embedded = normalize(bench.task(cell, Path(), _quiet).model("image-text").embed_images(pool), dim=1)
        by_activations, by_text = nearest(scorer.activations(pool), N), nearest(embedded, N)
        tested = {
            "coherent by activations": [pool.take(by_activations[i]) for i in anchors],
            "coherent by image-text": [pool.take(by_text[i]) for i in anchors],
            "mixed": [pool.take(sorted(rng.choice(len(pool), N, replace=False).tolist())) for _ in range(SETS)],
        }
        for kind, sets in tested.items():
            effects = [s.effect for s in scorer.score_many(sets)]
            for counterparts in ("coherent", "mixed"):
                null = scorer.null(199, N, "as-is", counterparts).effect
                found = [rank_p(e, null) for e in effects]
                shares.setdefault((kind, counterparts), []).append(_shares(found))
        if arguments.drawn:
            generator = bench.task(cell, Path(), _quiet).generator or bench.component("generator", cell.generator)
            drawings = drawings or _draw(generator, data.vocabulary)
            render = f"generated:{generator.fingerprint}"
            null = scorer.null(199, N, render)
            found = [
                rank_p(score.effect, null.without(phrase).effect)
                for phrase, score in zip(data.vocabulary, scorer.score_many(drawings, render), strict=True)
            ]
            shares.setdefault(("drawn, one phrase each", "one phrase each"), []).append(_shares(found))
        print(
            f"{cls}: {', '.join(f'{k[0]} / {k[1]} {v[-1][0]:.2f} {v[-1][1]:.2f}' for k, v in shares.items())}",
            flush=True,
        )
    extra = " --drawn" if arguments.drawn else ""
    print(f"\nCommand: `python benchmarks/level.py --classifier {arguments.classifier}{extra}`\n")
    print("| sets tested | null | p <= .05 above | below | p <= .01 above | below | families with a mark |")
    print("|---" * 7 + "|")
    for (kind, counterparts), rows in shares.items():
        print(f"| {kind} | {counterparts} | " + " | ".join(_shown(column) for column in zip(*rows, strict=True)) + " |")


def _quiet(step: int, total: int, note: str = "") -> None:
    """Report nothing."""


def _cell(classifier: str, cls: str) -> Cell:
    models = {"image-text": Ref("minizoo/clip")}
    generator = Ref("minizoo/diffusion", {"steps": 10, "batch_size": 12})
    return Cell("tcav", Ref("tcav"), Ref(classifier), Ref("minizoo"), cls, 0, generator=generator, models=models)


def _draw(generator: object, vocabulary: Sequence[str]) -> list[Samples]:
    """Ten drawings of each phrase, with noise of their own."""
    prompts = [phrase for phrase in vocabulary for _ in range(N)]
    drawn = generator.generate(prompts, [9_000_000 + i for i in range(len(prompts))])  # type: ignore[attr-defined]
    return [Samples("image", drawn.images[i : i + N], drawn.ids[i : i + N]) for i in range(0, len(prompts), N)]


def _shares(found: Sequence[tuple[float, float]]) -> list[float]:
    """Shares of p <= .05 and p <= .01, above and below, and of families with a mark."""
    up, down = (np.array(side) for side in zip(*found, strict=True))
    families = [slice(i, i + FAMILY) for i in range(0, len(up) - FAMILY + 1, FAMILY)]
    marked = [any(signed_marks(up[f].tolist(), down[f].tolist(), 0.05)[0]) for f in families]
    return [float((side <= level).mean()) for level in (0.05, 0.01) for side in (up, down)] + [float(np.mean(marked))]


def _shown(values: Sequence[float]) -> str:
    """Mean over the classes, with a 95 % t interval."""
    half = half_width(float(np.std(values, ddof=1)) / len(values) ** 0.5, len(values) - 1)
    return f"{np.mean(values):.3f} ± {half:.3f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
