"""The baseline of failure modes: clusters of the features that the classifier has before its head, told by tags."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from xcore.contract import Classifier, Samples
from xcore.models.codes import rows_of
from xcore_acting.failures_search import Group, Mode, Rules, fisher, named, tested
from xcore_acting.failures_tags import Flags, Tags

RESTARTS = 5
"""Runs of k-means, of which the one with the closest clusters is taken."""
BATCH = 100
"""Samples whose activations are in memory at once."""


def features(classifier: Classifier, layer: str, samples: Samples) -> NDArray[np.float64]:
    """(n, C) activations at a layer, averaged over positions, with mean 0 and spread 1 in each channel."""
    probe = classifier.open(layer)
    parts = [samples.take(slice(i, i + BATCH)) for i in range(0, len(samples), BATCH)]
    rows = [rows_of(probe.activations(part), probe.layout).double().mean(1).cpu().numpy() for part in parts]
    x = np.concatenate(rows)
    spread = x.std(0)
    scaled: NDArray[np.float64] = (x - x.mean(0)) / np.where(spread > 1e-9, spread, 1.0)
    return scaled


def kmeans(x: NDArray[np.float64], k: int, seed: int) -> NDArray[np.float64]:
    """The centres (at most k, C) of the closest clusters of some runs of k-means++."""
    from scipy.cluster.vq import kmeans2

    k = min(k, len(np.unique(x, axis=0)))
    best, least = x[:1], np.inf
    for restart in range(RESTARTS):
        rng = np.random.default_rng([seed, restart])
        centres, _ = kmeans2(x, k, minit="++", rng=rng, missing="warn") if k > 1 else (x.mean(0, keepdims=True), None)
        distance = float(_distances(x, centres).min(1).sum())
        if distance < least:
            best, least = centres, distance
    return best


def _distances(x: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    return squares


def clusters(
    x: NDArray[np.float64], wrong: Flags, chosen: Flags, tags: Tags, rules: Rules, k: int, seed: int
) -> dict[str, list[Mode]]:
    """Clusters that fail more often, found on the chosen half and tested on the other.

    Parameters
    ----------
    x
        (n, C) features of all samples.
    k
        Clusters; of the failures, and of the others, as many each.

    Returns
    -------
    "clusters": of all samples. "clusters of failures": of the failures alone; a sample is in one of them if it is
    nearer to its centre than to all centres of clusters of the others. Each is named by the tags that describe it best.
    """
    failed = wrong & chosen
    every = kmeans(x[chosen], k, seed)
    ways = {"clusters": _distances(x, every).argmin(1)}
    of_failures = kmeans(x[failed], k, seed)
    both = np.vstack([of_failures, kmeans(x[chosen & ~wrong], k, seed)])
    ways["clusters of failures"] = _distances(x, both).argmin(1)
    found = {}
    for way, nearest in ways.items():
        count = len(every) if way == "clusters" else len(of_failures)
        groups = [nearest == i for i in range(count)]
        kept = [g for g in groups if _fails(g[chosen], wrong[chosen], rules)]
        found[way] = tested([Group(describe(tags, g, chosen), g) for g in kept], wrong, ~chosen)
    return found


def _fails(group: Flags, failed: Flags, rules: Rules) -> bool:
    """Whether a cluster fails enough more often, by the rules of failure modes, on the half that it was found on."""
    n, errors = int(group.sum()), int((group & failed).sum())
    if n < rules.least(len(failed)) or errors / n < failed.mean() + rules.margin:
        return False
    p = fisher(np.array([errors]), np.array([n]), int(failed.sum()), len(failed))
    return bool(p[0] <= rules.alpha)


def describe(tags: Tags, group: Flags, chosen: Flags) -> str:
    """The tag, or the two tags, whose samples are most nearly those of a cluster, and how nearly (F1)."""
    has, mine = tags.has[chosen], group[chosen]

    def f1(combo: Sequence[int]) -> float:
        said = has[:, list(combo)].all(1)
        return float(2 * (said & mine).sum() / max(1, said.sum() + mine.sum()))

    single = sorted(((i,) for i in range(has.shape[1])), key=f1, reverse=True)
    near = [combo[0] for combo in single[:20]]
    combos = [*single[:1], *combinations(sorted(near), 2)]
    best = max(combos, key=lambda c: f1(c) - 0.02 * (len(c) - 1))
    return f"about {named(tags.names, best)} (F1 {f1(best):.2f})"
