"""What is in the pictures and not in the features: it must not be said of the pictures that have it.

A factor is erased in two ways. *Painted over*: the classifier is shown the same picture with one fixed value of the
factor, so that its features cannot hold it. *Projected out*: from the features of each position, the directions along
which they correlate with the factor (Belrose et al., LEACE, 2023), so that no linear map finds it; what is folded into
them in other ways is left. Captions tell the factor in either case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from reading import PAIRS, Reader, as_samples, obtain, painted, pick
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor
from xcore_minizoo.world import BACKGROUNDS, PATTERNS, SHAPES, Scene, random_colours
from xcore_texplain.features import features
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.words import content_lemmas

from xcore.contract import Ref, Samples
from xcore.registry import load_registry

IMAGES, SENTENCES, STEPS, PERMUTED = 300, 20, 1000, 2000
MODEL = "minizoo/vit"
FACTORS: dict[str, tuple[tuple[str, ...], Callable[[Scene], Scene]]] = {
    "background": (BACKGROUNDS, lambda scene: replace(scene, background="sand")),
    "pattern": (PATTERNS, lambda scene: replace(scene, pattern="plain", colours=("brown",))),
}


def erased(decoder: Any, out: Path) -> None:
    """Words of a factor that pictures have and features do not."""
    model = load_registry().create("classifier", Ref(MODEL))
    probe = model.open(model.default_layer)
    scenes = [free(np.random.default_rng([79, i])) for i in range(IMAGES)]
    pictures = posed(scenes)
    options = TranslatorOptions(steps=STEPS)
    plain = partial(painted, free, PAIRS)
    kept = obtain(decoder, probe, plain, out / "kept", options)
    print(f"## Erased: {MODEL} at {model.default_layer}\n")
    print(f"{IMAGES} pictures, {SENTENCES} sentences each. Share of sentences with the word for pictures that have it,")
    print("less the share for those that have not, with its 95 % interval; p: the largest difference of the factor")
    print(f"against {PERMUTED} shuffles of its values over the pictures. Probes: held-out accuracy.\n")
    print(
        "| factor | word | pictures | features as they are | painted over | projected out |\n|---|---|---|---|---|---|"
    )
    for factor, (values, over) in FACTORS.items():
        blind = obtain(decoder, probe, partial(painted, free, PAIRS, over), out / f"{factor}-painted", options)
        bare = Erased(probe, factor, values)
        linear = obtain(decoder, bare, plain, out / f"{factor}-projected", options)
        is_there = np.array([[getattr(scene, factor) == v for v in values] for scene in scenes])
        told = {
            "as they are": said_of(kept, pictures, values),
            "painted over": said_of(blind, posed([over(scene) for scene in scenes]), values),
            "projected out": said_of(linear, pictures, values),
        }
        for j, value in enumerate(values):
            row = [difference(x[:, j], is_there[:, j]) for x in told.values()]
            print(f"| {factor} | {value} | {is_there[:, j].sum()} | {' | '.join(row)} |")
        row = [f"p = {chance(x, is_there):.4f}" for x in told.values()]
        print(f"| {factor} | largest | | {' | '.join(row)} |")
        shown = ((probe, lambda scene: scene), (probe, over), (bare, lambda scene: scene))
        row = [known(seen, [paint(scene) for scene in scenes], is_there.argmax(1)) for seen, paint in shown]
        print(f"| {factor} | linear probe, support vectors | | {' | '.join(row)} |", flush=True)
    print()


def free(rng: np.random.Generator) -> Scene:
    """An animal whose factors say nothing of one another, but for the number of colours of a pattern."""
    pattern = pick(rng, PATTERNS)
    return Scene(pick(rng, SHAPES), pattern, random_colours(rng, pattern), pick(rng, BACKGROUNDS))


class Erased:
    """A probe without what is linearly known of a factor at any position (`xcore.contract.Probe`, without a head)."""

    layout: Literal["NTC"] = "NTC"

    def __init__(self, probe: Any, factor: str, values: tuple[str, ...]) -> None:
        scenes = [free(np.random.default_rng([80, i])) for i in range(PAIRS)]
        y = torch.tensor([[float(getattr(scene, factor) == v) for v in values] for scene in scenes])
        z = features(probe, posed(scenes))
        self._probe, self._mean = probe, z.mean(0)
        self._kept = torch.stack([eraser(z[:, p].double(), y.double()).float() for p in range(z.shape[1])])

    def activations(self, x: Samples) -> Tensor:
        """(n, P, D) features without the factor."""
        z = features(self._probe, x) - self._mean
        return torch.einsum("npd,pde->npe", z, self._kept) + self._mean


def eraser(x: Tensor, y: Tensor) -> Tensor:
    """(D, D) the map E nearest to the identity for which x E and y are uncorrelated (LEACE, theorem 4.3)."""
    x, y = x - x.mean(0), y - y.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    held = values > 1e-9 * values[-1]
    root = values[held].sqrt()
    white = vectors[:, held] / root  # x @ white has unit covariance
    found, strength, _ = torch.linalg.svd(white.T @ (x.T @ y / len(x)), full_matrices=False)
    found = found[:, strength > 1e-6 * strength[0]]
    return torch.eye(x.shape[1], dtype=x.dtype) - white @ found @ found.T @ (vectors[:, held] * root).T


def posed(scenes: list[Scene]) -> Samples:
    """Pictures of scenes, each in the same pose for the same place."""
    return as_samples(scenes, [(81, i) for i in range(len(scenes))], "scene")


def said_of(read: Reader, samples: Samples, values: tuple[str, ...]) -> NDArray[np.float64]:
    """(N, values) share of sentences about each picture with the word of each value."""
    lemmas = [next(iter(content_lemmas(value))) for value in values]
    return read.count(samples, 3, SENTENCES).shares_of(lemmas)


def known(probe: Any, seen: list[Scene], values: NDArray[np.intp]) -> str:
    """Held-out accuracy (five folds) of two classifiers of the factor, a linear one and one that is not.

    They read the class token and the mean of the patches.
    """
    z = features(probe, posed(seen)).numpy()
    x = np.concatenate([z[:, 0], z[:, 1:].mean(1)], 1)
    made = LogisticRegression(C=0.1, max_iter=2000), SVC()
    return ", ".join(f"{cross_val_score(make_pipeline(StandardScaler(), m), x, values).mean():.2f}" for m in made)


def difference(x: NDArray[np.float64], there: NDArray[np.bool_]) -> str:
    """Mean with less mean without, and its interval over pictures."""
    rng = np.random.default_rng(0)
    sides = [side[rng.integers(len(side), size=(1000, len(side)))].mean(1) for side in (x[there], x[~there])]
    low, high = np.quantile(sides[0] - sides[1], [0.025, 0.975])
    return f"{x[there].mean() - x[~there].mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def chance(x: NDArray[np.float64], there: NDArray[np.bool_]) -> float:
    """How often shuffled values have a difference as large as the largest found."""
    rng = np.random.default_rng(0)

    def largest(at: NDArray[np.bool_]) -> float:
        n = at.sum(0)
        return float(((x * at).sum(0) / n - (x * ~at).sum(0) / (len(x) - n)).max())

    found = largest(there)
    again = sum(largest(there[rng.permutation(len(there))]) >= found - 1e-12 for _ in range(PERMUTED))
    return (again + 1) / (PERMUTED + 1)
