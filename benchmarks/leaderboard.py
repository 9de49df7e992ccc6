"""What each method finds in classifiers whose dependence is known: `python benchmarks/leaderboard.py`.

    python benchmarks/leaderboard.py --each 3                     # the first three classifiers of each family
    python benchmarks/leaderboard.py --methods tcav,surrogate     # all fifteen of each
    python benchmarks/leaderboard.py --part report --each 6       # the second, fourth and sixth of each
    python benchmarks/leaderboard.py --families one --first 7     # what was chosen on no classifier of the family
    python benchmarks/leaderboard.py --picture leaderboard.png    # where each method breaks, as a picture

The family *planted* has networks that were trained on pictures with a shortcut (docs/getting-started.md), and are asked
about the class of the shortcut; each is trained when it is first asked for, in some ten minutes. TExplain is left out,
since it needs a training of its own for each classifier.

One bench a classifier, kept below --run, so that the command goes on where it was ended. A method *asserts* the
concepts that its own test marks as raising the class; a method without a test asserts its first three concepts of
positive importance. A concept names factor values as the metric `recovery` reads it: by its words, else by what a
factor oracle sees in its pictures. Of each classifier:

- *found* is the share of the values that it uses (by intervention, docs/judge.md) that an asserted concept names;
- *false alarms* is the share of the concepts that name nothing that it uses which are asserted all the same; 0 where
  every concept names something used;
- *wrong* is the share of asserted concepts that name nothing that it uses; 0 where none is asserted.

Means and t intervals are over the classifiers of a family. A star marks the families that the card of a method claims
(`covers`), and the row *claimed* has all classifiers of these. A claim is chosen on some classifiers of a family and
reported of others: --part, --first and --each say which.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from intervals import mean_interval
from matplotlib.figure import Figure
from xcore_metrics.recovery import judge
from xcore_minizoo.planted import Planted
from xcore_minizoo.wired_zoo import FAMILIES as WIRED
from xcore_minizoo.wired_zoo import zoo

from xcore.api import bench
from xcore.contract import Cell, Explanation
from xcore.registry import Registry, load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

METHODS = "craft,lens,eac,ace,cce,conceptshap,tcav,surrogate,surrogate-any,skit,elude,rlpo-names"
ARMS = [
    # Every effect that is shown is marked, however small.
    {"label": "surrogate-any", "method": "surrogate", "set": {"minimum": 0}},
    # The names that RLPO gives without updates of the generator, which change the pictures and hardly a name.
    {"label": "rlpo-names", "method": "rlpo", "set": {"update": False, "n": 6}},
]
PLANTED = ("zebra:background=water:1:101", "horse:background=sky:1:202", "leopard:background=snow:1:401")
"""The trained networks, as shortcut, strength and seed."""
FAMILIES = (*WIRED, "planted")
PARTS = {"all": (0, 1), "choose": (1,), "report": (0,)}
"""Part -> remainders of the numbers of its classifiers in their family, by two."""
COLUMNS = {"found": "found", "alarms": "false alarms", "wrong": "wrong", "seconds": "seconds"}
ASSERTED = 3
"""Concepts that a method without a test asserts, as in the metric recovery."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {"minizoo/diffusion": {"steps": 10, "batch_size": 12}}
SAMPLES = 30


@dataclass(frozen=True)
class Found:
    """What one method said of one classifier."""

    family: str
    method: str
    found: float
    alarms: float
    wrong: float
    asserted: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--each", type=int, default=15, help="number of the last classifier of each family")
    parser.add_argument("--first", type=int, default=1, help="number of the first classifier of each family")
    parser.add_argument("--families", default=",".join(FAMILIES), help="families, separated by commas")
    parser.add_argument("--part", choices=PARTS, default="all", help="classifiers of odd numbers, of even ones, or all")
    parser.add_argument("--run", type=Path, default=Path("runs/leaderboard"), help="folder that keeps the runs")
    parser.add_argument("--picture", type=Path, help="file for the chart of families and methods (.png)")
    asked = parser.parse_args()
    registry, found, failed = load_registry(), list[Found](), list[str]()
    seen, labels = dict.fromkeys(FAMILIES, 0), [arm["label"] for arm in ARMS]
    for family, classifier, data, cls in _classifiers():
        seen[family] += 1
        chosen = asked.first <= seen[family] <= asked.each and seen[family] % 2 in PARTS[asked.part]
        if chosen and family in asked.families.split(","):
            done = bench(
                [m for m in asked.methods.split(",") if m not in labels],
                arms=[arm for arm in ARMS if arm["label"] in asked.methods.split(",")],
                data=data,
                classifiers=[classifier],
                classes=[cls],
                seeds=[0],
                threads=1,
                controls=[],
                metrics=["recovery", "cost"],
                budget={"samples": SAMPLES, "heldout": SAMPLES},
                set=SETTINGS,
                out=asked.run / f"{family}-{seen[family]}",
                registry=registry,
            )
            for outcome in done.result.outcomes:
                if outcome.status == "ok":
                    found.append(_judged(registry, done.path, outcome.cell, family))
                else:
                    failed.append(f"{outcome.cell.label} on {classifier}: {outcome.reason}")
    claims = {outcome: set(registry.find("explainer", method)[0].covers) for outcome, method in _methods(asked.methods)}
    for column in COLUMNS:
        print(_table(column, found, claims), "\n")
    print("\n".join(failed))
    if asked.picture:
        asked.picture.parent.mkdir(parents=True, exist_ok=True)
        _chart(found, list(claims)).savefig(asked.picture, dpi=120)


def _classifiers() -> Iterator[tuple[str, str, str, str]]:
    """Family, classifier, data set and explained class of every classifier, family by family."""
    for family, wiring in zoo():
        yield family, wiring.reference, wiring.reference, "wired"
    for planted in map(Planted.parse, PLANTED):
        yield "planted", str(planted), "minizoo", planted.cls


def _methods(names: str) -> list[tuple[str, str]]:
    """Each label with its method."""
    arms = {arm["label"]: arm["method"] for arm in ARMS}
    return [(name, arms.get(name, name)) for name in names.split(",")]


def _judged(registry: Registry, path: Path, cell: Cell, family: str) -> Found:
    """What the explanation of a cell asserts, against what its classifier uses."""
    store = Store(path)
    workbench = Workbench(registry, store)
    explanation = store.load(workbench.identity.explanation(cell))
    judgement = judge(replace(workbench.run(cell, explanation), truth=workbench.truth(cell)))
    asserted = set(_asserted(explanation))
    right = {i: (judgement.named[i] or frozenset()) & judgement.used for i in range(len(explanation.concepts))}
    found = len(frozenset().union(*(right[i] for i in asserted))) / len(judgement.used)
    unused = {i for i, values in right.items() if not values}
    seconds = explanation.cost.seconds + explanation.cost.shared_seconds  # there is one class to share them
    alarms, wrong = (len(unused & asserted) / len(of) if of else 0.0 for of in (unused, asserted))
    return Found(family, cell.label, found, alarms, wrong, len(asserted), seconds)


def _asserted(explanation: Explanation) -> list[int]:
    """The concepts that a method says to raise the class, by its test if it has one."""
    concepts = explanation.concepts
    if any("mark" in c.evidence for c in concepts):
        return [i for i, c in enumerate(concepts) if c.evidence.get("mark", 0) > 0]
    return [i for i, c in enumerate(concepts[:ASSERTED]) if c.importance > 0]


def _table(column: str, found: Sequence[Found], claims: Mapping[str, Collection[str]]) -> str:
    """One column of all methods by family, as Markdown; `claims` are the families that each method claims."""
    lines = [f"| {COLUMNS[column]} | {' | '.join(claims)} |", f"|---|{'---|' * len(claims)}"]
    for family in (*FAMILIES, "claimed", "all"):
        own = {m: _of(found, m, families if family == "claimed" else (family,)) for m, families in claims.items()}
        if any(own.values()):
            shown = [
                mean_interval([getattr(f, column) for f in part]) + (" *" if family in claims[m] else "")
                for m, part in own.items()
            ]
            lines.append(f"| {family} ({max(map(len, own.values()))}) | {' | '.join(shown)} |")
    return "\n".join(lines)


def _of(found: Sequence[Found], method: str, families: Collection[str]) -> list[Found]:
    """What a method said of the classifiers of some families, or of ``all``."""
    return [f for f in found if f.method == method and ("all" in families or f.family in families)]


def _chart(found: Sequence[Found], methods: Sequence[str]) -> Figure:
    """Where each method breaks: what it finds, and its false alarms, by family."""
    figure = Figure(figsize=(2 + 1.1 * len(FAMILIES), 2.2 + 0.7 * len(methods)), layout="constrained")
    for ax, column, colours in zip(figure.subplots(2, 1), ("found", "alarms"), ("Greens", "Reds"), strict=True):
        means = np.array([[_mean(_of(found, m, (f,)), column) for f in FAMILIES] for m in methods])
        darkest = 1 if column == "found" else 0.5
        ax.imshow(means, cmap=colours, vmin=0, vmax=darkest, aspect="auto")
        for (row, place), value in np.ndenumerate(means):
            ink = "white" if value > 0.6 * darkest else "black"
            ax.text(place, row, "" if value != value else f"{value:.2f}", ha="center", va="center", color=ink)
        ax.set_xticks(range(len(FAMILIES)), FAMILIES)
        ax.set_yticks(range(len(methods)), methods)
        ax.set_title(COLUMNS[column])
    return figure


def _mean(found: Sequence[Found], column: str) -> float:
    """The mean of a column; nan of nothing."""
    return float(np.mean([getattr(f, column) for f in found])) if found else float("nan")


if __name__ == "__main__":
    main()
