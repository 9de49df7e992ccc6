"""A generator's last latents in words, beside a captioner's words about the pictures that they become."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reading import obtain, painted, strip, whole
from scipy.spatial.distance import jensenshannon
from xcore_texplain.cloud import draw_changes
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.words import compare_groups, count_words

from xcore.contract import Ref
from xcore.registry import load_registry

PAIRS, DRAWN, SENTENCES, CAPTIONS = 12000, 30, 50, 10
FEW, RESAMPLES = 3, 1000
"""The experiment names three classes; the others are shown beside them."""

Spread = NDArray[np.float64]


def latents(decoder: Any, out: Path) -> None:
    """Words of a generator's last latents beside what a captioner says of the pictures."""
    registry = load_registry()
    generator = registry.create("generator", Ref("minizoo/diffusion"))
    captioner = registry.create("model", Ref("minizoo/blip", {"top_p": 0.95}))
    options = TranslatorOptions(mode="flatten_bottleneck", steps=3000, train_pairs=PAIRS)
    read = obtain(decoder, generator.probe(), partial(painted, whole, PAIRS), out, options)
    classes = [c for c in registry.create("dataset", Ref("minizoo")).classes if c != "other"]
    ours, theirs, drawn = [], [], []
    for c in classes:
        samples = generator.generate([f"a {c}"] * DRAWN, range(DRAWN))
        ours.append(read.count(samples, 0, SENTENCES))
        each = [captioner.caption(samples, [1000 * i + j for i in range(DRAWN)]) for j in range(CAPTIONS)]
        theirs.append(count_words(list(zip(*each, strict=True))))
        told = [w for w in compare_groups(theirs[-1], ours[-1]) if max(w.before, w.after) >= 0.02]
        draw_changes(told, ("the captioner", "TExplain on the latents"), out / f"{c}-changes.png")
        drawn.append(samples)
    strip(drawn, out / "drawn.png")
    words = sorted({w for told in (*ours, *theirs) for w in told.words})
    a, b = ([told.shares_of(words) for told in side] for side in (ours, theirs))
    found = distances([x.mean(0) for x in a], [x.mean(0) for x in b])
    print(f"## Latents: {DRAWN} pictures of a class by minizoo/diffusion\n")
    about = read.about
    print(f"Translator: {about['pairs']} pairs, {about['steps']} steps, {about['seconds']:.0f} s, validation loss "
          f"{about['validation_loss']:.3f}.")  # fmt: skip
    print("Jensen-Shannon distance (base 2) of word distributions: rows TExplain on latents, columns the captioner;")
    print(f"ratio: own over the mean of the others, 95 % interval over {RESAMPLES} resamples of the drawings.\n")
    print(f"| | {' | '.join(classes)} | others | ratio |\n|---|{'---|' * (len(classes) + 2)}")
    rng = np.random.default_rng(0)
    draws = (rng.integers(DRAWN, size=DRAWN) for _ in range(RESAMPLES))  # the same drawings on both sides
    again = np.array([distances([x[i].mean(0) for x in a], [x[i].mean(0) for x in b]) for i in draws])
    for i, c in enumerate(classes):
        row = [f"{d:.3f}" for d in found[i]]
        print(f"| {c} | {' | '.join(row)} | {others(found)[i]:.3f} | {shown(found, again, [i])} |")
    for n in (FEW, len(classes)):
        rows = list(range(n))
        few, some = found[:n, :n], again[:, :n, :n]
        own, rest = np.diagonal(few).mean(), others(few).mean()
        print(f"\n{', '.join(classes[:n])}: {own:.3f} own, {rest:.3f} others, ratio {shown(few, some, rows)}")
    print()


def distances(one: Sequence[Spread], two: Sequence[Spread]) -> Spread:
    """(C, C) distances of word distributions: frequencies scaled to sum 1."""
    return np.array([[jensenshannon(p, q, base=2) for q in two] for p in one])


def others(found: Spread) -> Spread:
    """(..., C) mean distance of each row to the other classes: what a shuffled class would give."""
    n = found.shape[-1]
    return np.asarray((found.sum(-1) - np.diagonal(found, axis1=-2, axis2=-1)) / (n - 1))


def shown(found: Spread, again: Spread, rows: list[int]) -> str:
    """Ratio of own to other distances over these rows, with its interval."""

    def ratio(d: Spread) -> Any:
        return np.diagonal(d, axis1=-2, axis2=-1)[..., rows].mean(-1) / others(d)[..., rows].mean(-1)

    low, high = np.quantile(ratio(again), [0.025, 0.975])
    return f"{ratio(found):.2f} [{low:.2f}, {high:.2f}]"
