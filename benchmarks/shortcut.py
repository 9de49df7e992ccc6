"""Does an explanation give a shortcut the weight that the network gives it? `python benchmarks/shortcut.py`

    python benchmarks/shortcut.py                       # the suite shortcut; fifteen networks are trained first
    python benchmarks/shortcut.py --seeds 401           # of the five networks of one training seed

The networks differ in how often leopards were on snow when they were trained (rho) and in the seed of the training.
The *measured effect* of snow is by intervention: the change of the leopard's logit when the background of a leopard
is painted as snow, as a share of the gap of the class (docs/judge.md; with --pairs scenes a class). The *weight* that
an explanation gives to snow is the share of its positive importance that is at concepts which name snow, by their
words or, for a concept without words, by what a factor oracle sees in its pictures. Printed is Spearman's correlation
of the two over the networks, with its interval, and the mean weight at each rho.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from intervals import rank_correlation
from matplotlib.figure import Figure
from xcore_metrics.recovery import judge
from xcore_minizoo.data import read_truth
from xcore_minizoo.planted import Planted, truth_file

from xcore.api import bench
from xcore.contract import Cell, Truth
from xcore.registry import Registry, load_registry
from xcore.run.plan import load_suite
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

PAIRS = 50
"""Scenes of each class on which the effect of snow is measured."""


@dataclass(frozen=True)
class Weight:
    """What one explanation of one network says of the shortcut."""

    method: str
    rho: float
    seed: int
    measured: float
    weight: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", help="only the networks of these training seeds, comma-separated")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="scenes of each class for the measured effect")
    parser.add_argument("--run", type=Path, default=Path("runs/shortcut"), help="folder that keeps the run")
    parser.add_argument("--picture", type=Path, help="file for the chart of weights against effects (.png)")
    asked = parser.parse_args()
    networks = load_suite("shortcut").classifiers
    if asked.seeds:
        networks = [n for n in networks if n.rpartition(":")[2] in asked.seeds.split(",")]
    registry = load_registry()
    done = bench(suite="shortcut", classifiers=networks, out=asked.run, registry=registry)
    truths = {n: read_truth(truth_file(_planted(n), pairs=asked.pairs)) for n in networks}
    found, failed = list[Weight](), list[str]()
    for outcome in done.result.outcomes:
        if outcome.status == "ok":
            found.append(_weight(registry, done.path, outcome.cell, truths[str(outcome.cell.classifier)]))
        else:
            failed.append(f"{outcome.cell.label} on {outcome.cell.classifier}: {outcome.reason}")
    print("\n".join([*_table(found), *failed]))
    if asked.picture:
        _chart(found).savefig(asked.picture, dpi=120)


def _planted(reference: str) -> Planted:
    return Planted.parse(reference.partition("planted:")[2])


def _weight(registry: Registry, path: Path, cell: Cell, truth: Truth) -> Weight:
    """The share of an explanation's positive importance at concepts that name what was planted."""
    planted = _planted(str(cell.classifier))
    store = Store(path)
    workbench = Workbench(registry, store)
    explanation = store.load(workbench.identity.explanation(cell))
    named = judge(replace(workbench.run(cell, explanation), truth=truth)).named
    positive = [max(concept.importance, 0.0) for concept in explanation.concepts]
    own = sum(p for p, values in zip(positive, named, strict=True) if planted.factor in (values or ()))
    measured = truth.effects[planted.cls][planted.factor][0] / truth.gaps[planted.cls]
    return Weight(cell.label, planted.rho, planted.seed, measured, own / sum(positive) if sum(positive) else 0.0)


def _table(found: list[Weight]) -> list[str]:
    """One line a method: Spearman's correlation over the networks, and the mean weight at each rho."""
    rhos = sorted({w.rho for w in found})
    head = " | ".join(f"rho {rho:g}" for rho in rhos)
    lines = [f"| method | Spearman, n networks | {head} |", f"|---|---|{'---|' * len(rhos)}"]
    effects = " | ".join(f"{np.mean([w.measured for w in found if w.rho == rho]):.2f}" for rho in rhos)
    lines.append(f"| *measured effect* | | {effects} |")
    for method, own in _by_method(found).items():
        r, low, high = rank_correlation([w.weight for w in own], [w.measured for w in own])
        told = f"{r:.2f} [{low:.2f}, {high:.2f}], {len(own)}"
        if low != low:
            told = f"{r:.2f} (all in order), {len(own)}" if r == r else f"constant, {len(own)}"
        shares = " | ".join(f"{np.mean([w.weight for w in own if w.rho == rho]):.2f}" for rho in rhos)
        lines.append(f"| {method} | {told} | {shares} |")
    return lines


def _by_method(found: list[Weight]) -> dict[str, list[Weight]]:
    groups: dict[str, list[Weight]] = defaultdict(list)
    for weight in found:
        groups[weight.method].append(weight)
    return groups


def _chart(found: list[Weight]) -> Figure:
    """The weight that each method gives to the shortcut against its measured effect, one small chart a method."""
    groups = _by_method(found)
    columns = 4
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(3 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(groups) :]:
        ax.set_visible(False)
    for ax, (method, own) in zip(axes.flat, groups.items(), strict=False):
        points = ax.scatter([w.measured for w in own], [w.weight for w in own], c=[w.rho for w in own], cmap="viridis")
        ax.set_title(method)
    figure.supxlabel("measured effect of snow, share of the gap of the leopard")
    figure.supylabel("share of importance at concepts that name snow")
    figure.colorbar(points, ax=axes, label="rho of the training data")
    return figure


if __name__ == "__main__":
    main()
