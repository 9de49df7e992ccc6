"""What every metric costs a cell, beside the passes of networks in it: `python benchmarks/perf/metrics.py`.

    python benchmarks/perf/metrics.py                       # all installed metrics
    python benchmarks/perf/metrics.py --metrics TS,CS,cost

Two explanations by CRAFT (zebra and leopard on `minizoo/clean`, 20 pictures and 20 held-out ones) are scored by each
metric, which is made anew for it. The first cell pays for what a metric makes once, such as the random sets of TS; the
second is what a further class costs. *In networks* are the seconds inside of modules of torch that the metric calls,
with all that they call: the floor, but for passes that could be spared or joined. Processor seconds of one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from figures import note
from tcav import Clock

import xcore
from xcore.base.errors import MissingError, NotApplicable
from xcore.contract import Cell, Ref, Run
from xcore.registry import Registry, load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

CLASSES = ["zebra", "leopard"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", default="", help="some metrics, joined by commas; empty: all")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    registry = load_registry()
    names = asked.metrics.split(",") if asked.metrics else sorted(card.name for card in registry.cards("metric"))
    # Hooks would not do: a pass that ends at a layer leaves the outer modules by an error.
    inside = Clock(torch.nn.Module, "__call__")
    print("| metric | first cell: s | wall | in networks | rows | second cell: s | wall | in networks | rows |")
    print("|---" * 9 + "|")
    total, floor = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        done = xcore.bench(
            ["craft"], data="minizoo", classifiers=["minizoo/clean"], classes=CLASSES, seeds=[0], controls=[],
            metrics=["cost"], budget={"samples": 20, "heldout": 20}, threads=1, out=Path(folder) / "run",
            registry=registry,
        )  # fmt: skip
        for name in names:
            workbench, metric = Workbench(registry, Store(done.path)), registry.create("metric", Ref(name))
            row = []
            for outcome in done.result.outcomes:
                run = _run(registry, workbench, outcome.cell, name)
                began, wall, before, rows = time.process_time(), time.perf_counter(), inside.seconds, inside.rows
                try:
                    metric.score([run])
                except (NotApplicable, MissingError) as reason:
                    row = [f"{reason} | | | | | | | "]
                    break
                took, within = time.process_time() - began, inside.seconds - before
                row.append(f"{took:.2f} | {time.perf_counter() - wall:.2f} | {within:.2f} | {inside.rows - rows}")
                total, floor = total + took, floor + within
            print(f"| {name} | {' | '.join(row)} |", flush=True)
    note("metrics", ours=total, floor=floor)


def _run(registry: Registry, workbench: Workbench, cell: Cell, metric: str) -> Run:
    """What a metric judges, with all that it asks for."""
    run = workbench.run(cell, workbench.store.load(workbench.identity.explanation(cell)))
    run = replace(run, truth=workbench.truth(cell))
    if "generator" in registry.uses(Ref(metric), "metric"):
        run = replace(run, task=workbench.with_generator(run.task, cell))
    return run


if __name__ == "__main__":
    main()
