"""What the method skit marks on a network that is known, and where there is nothing: `python benchmarks/betting.py`.

    python benchmarks/betting.py --network minizoo/vit                  # all classes, beside the truth table
    python benchmarks/betting.py --permuted 20                          # outputs permuted 20 times for each class
    python benchmarks/betting.py --set test=marginal --set orders=1     # with other options of skit

Of each class: AUC and precision among the first three of phrases that name only used values, and the share of phrases
marked +, by how much of what they name is used; means and 95 % t intervals over classes. With --permuted: the share of
single tests that reject at alpha, and of runs with a mark, where presence and output have nothing to do with each
other. The conditional test is right there only if its sampler is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from evidence import area, cells, interval, kind_of, truth_of
from xcore_evidence import ridge
from xcore_evidence.margins import margin
from xcore_evidence.observed import PENALTY
from xcore_evidence.readings import pool_of, presence
from xcore_evidence.skit.explainer import Skit
from xcore_evidence.skit.options import SkitOptions

from xcore.contract import Cell, Task
from xcore.registry import load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

KINDS = ("all", "some", "nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="minizoo/clean")
    parser.add_argument("--classes", default="", help="some of them, with commas; empty: all")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="options of skit")
    parser.add_argument("--permuted", type=int, default=0, help="permutations of the outputs of each class")
    parser.add_argument("--run", type=Path, default=Path("runs/betting"))
    asked = parser.parse_args()
    bench = Workbench(load_registry(), Store(asked.run))
    options = SkitOptions(**dict(text.split("=", 1) for text in asked.set))
    planned = cells("minizoo", asked.network, 0)
    chosen = asked.classes.split(",") if asked.classes else [c for c in planned if c != "other"]
    run = _permuted if asked.permuted else _found
    rows = [run(bench, planned[cls], asked.network, options, asked.permuted) for cls in chosen]
    for name in rows[0]:
        print(f"{name}: {interval([row[name] for row in rows if row[name] == row[name]])}")


def _task(bench: Workbench, cell: Cell, folder: str) -> Task:
    work = bench.store.root / "work" / folder
    work.mkdir(parents=True, exist_ok=True)
    return bench.task(cell, work, lambda step, total, note="": None)


def _found(bench: Workbench, cell: Cell, network: str, options: SkitOptions, _: int) -> dict[str, float]:
    """The figures of one class beside its truth."""
    task, truth, start = _task(bench, cell, cell.cls), truth_of(bench.dataset(cell.data), network), time.perf_counter()
    concepts = Skit(options).explain(task).concepts
    kinds = [kind_of(truth.phrases.get(c.name, frozenset()), truth.used(cell.cls)) for c in concepts]
    marks = [c.evidence["mark"] > 0 for c in concepts]
    figures = {
        "AUC": area([-i for i in range(len(concepts))], [kind == "all" for kind in kinds]),
        "precision among the first three": kinds[:3].count("all") / 3,
        "rejection time of the first": concepts[0].evidence["rejection_time"],
    }
    for kind in KINDS:
        own = [mark for mark, k in zip(marks, kinds, strict=True) if k == kind]
        figures[f"marked, {kind} of what is named used"] = sum(own) / len(own) if own else float("nan")
    print(f"<!-- {cell.cls}: {', '.join(c.name for c in concepts[:4])}; {time.perf_counter() - start:.0f} s -->")
    return figures | {"seconds": time.perf_counter() - start}


def _permuted(bench: Workbench, cell: Cell, network: str, options: SkitOptions, times: int) -> dict[str, float]:
    """Shares of tests that reject, and of runs with a mark, in permutations of the outputs of one class."""
    task, skit = _task(bench, cell, cell.cls), Skit(options)
    pool = pool_of(task, options.pool, options.samples)
    read = presence(task, pool.samples, task.vocabulary)
    y, sampler = margin(task.classifier.logits(pool.samples), task.target), skit.sampler(read, task)
    single, marked = list[float](), list[float]()
    for i in range(times):
        shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(i))]
        fit = ridge.fit(read, shuffled, penalty=PENALTY)
        tested = skit.tested(task, shuffled, sampler, fit.coefficients)
        single.append(float(tested.rejected.double().mean()))
        marked.append(float(any(tested.marks)))
    return {"single tests that reject": _mean(single), "runs with a mark": _mean(marked)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
