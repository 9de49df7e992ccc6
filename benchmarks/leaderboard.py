"""What each method finds in classifiers whose dependence is known: `python benchmarks/leaderboard.py`.

    python benchmarks/leaderboard.py --each 3                     # the first three classifiers of each family
    python benchmarks/leaderboard.py --methods tcav,surrogate     # all fifteen of each

One bench a classifier, kept below --run, so that the command goes on where it was ended. A method *asserts* the
concepts that its own test marks as raising the class; a method without a test asserts its first three concepts of
positive importance. A concept names factor values as the metric `recovery` reads it: by its words, else by what a
factor oracle sees in its pictures. Of each classifier:

- *found* is the share of the values that it uses (by intervention, docs/judge.md) that an asserted concept names;
- *false* is the share of asserted concepts that name nothing that it uses; 0 where none is asserted.

Means and t intervals are over the classifiers of a family.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from intervals import mean_interval
from xcore_metrics.recovery import judge
from xcore_minizoo.wired_zoo import FAMILIES, zoo

from xcore.api import bench
from xcore.contract import Cell, Explanation
from xcore.registry import Registry, load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

METHODS = "craft,lens,eac,ace,tcav,surrogate"
ASSERTED = 3
"""Concepts that a method without a test asserts, as in the metric recovery."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {"minizoo/diffusion": {"steps": 10, "batch_size": 12}}
SAMPLES = 60


@dataclass(frozen=True)
class Found:
    """What one method said of one classifier."""

    family: str
    method: str
    found: float
    false: float
    asserted: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--each", type=int, default=15, help="classifiers of each family, from the first")
    parser.add_argument("--run", type=Path, default=Path("runs/leaderboard"), help="folder that keeps the runs")
    asked = parser.parse_args()
    registry, found, failed = load_registry(), list[Found](), list[str]()
    seen = dict.fromkeys(FAMILIES, 0)
    for family, wiring in zoo():
        seen[family] += 1
        if seen[family] <= asked.each:
            done = bench(
                asked.methods.split(","),
                data=wiring.reference,
                classes=["wired"],
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
                    failed.append(f"{outcome.cell.label} on {wiring}: {outcome.reason}")
    for column in ("found", "false"):
        print(_table(column, found, asked.methods.split(",")), "\n")
    print("\n".join(failed))


def _judged(registry: Registry, path: Path, cell: Cell, family: str) -> Found:
    """What the explanation of a cell asserts, against what its classifier uses."""
    store = Store(path)
    workbench = Workbench(registry, store)
    explanation = store.load(workbench.identity.explanation(cell))
    judgement = judge(replace(workbench.run(cell, explanation), truth=workbench.truth(cell)))
    named = [judgement.named[i] or frozenset() for i in _asserted(explanation)]
    right = [values & judgement.used for values in named]
    found = len(frozenset().union(*right)) / len(judgement.used)
    false = sum(not values for values in right) / len(right) if right else 0.0
    return Found(family, cell.label, found, false, len(named), explanation.cost.seconds)


def _asserted(explanation: Explanation) -> list[int]:
    """The concepts that a method says to raise the class, by its test if it has one."""
    concepts = explanation.concepts
    if any("mark" in c.evidence for c in concepts):
        return [i for i, c in enumerate(concepts) if c.evidence.get("mark", 0) > 0]
    return [i for i, c in enumerate(concepts[:ASSERTED]) if c.importance > 0]


def _table(column: str, found: Sequence[Found], methods: Sequence[str]) -> str:
    """One column of all methods by family, as Markdown."""
    lines = [f"| {column} | {' | '.join(methods)} |", f"|---|{'---|' * len(methods)}"]
    for family in (*FAMILIES, "all"):
        own = [[f for f in found if f.method == m and family in ("all", f.family)] for m in methods]
        if any(own):
            shown = [mean_interval([getattr(f, column) for f in part]) for part in own]
            lines.append(f"| {family} ({max(map(len, own))}) | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
