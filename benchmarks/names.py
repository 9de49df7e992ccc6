"""Which ranking of RLPO's seed prompts names what a classifier uses? `python benchmarks/names.py --networks 'A B'`.

RLPO's names come from its ranking alone; searches and updates change its pictures. So this script ranks the seed
prompts of each class as `rlpo.rank` says (context, edited, factorial, prior), and draws nothing else: minutes instead
of the hours of the suite minizoo-full. Both sources of seed prompts are tried: the vocabulary, and questions about the
class images.

For each it prints the precision among the first three prompts and the AUC of prompts of which everything named is used,
against the truth table; then the differences from the ranking of the image-text model (prior), paired by class and
seed. Of planted networks (minizoo/planted:...) only the class of the shortcut is asked about, the reciprocal rank of
the planted factor is printed, too (0 where it is no seed prompt), and all of them make one table. Intervals are t
intervals over classes, after the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from evidence import area, kind_of, planted_in, truth_of
from intervals import shown, shown_difference
from xcore_rlpo.options import Options
from xcore_rlpo.ranking import ranking
from xcore_rlpo.seed_prompts import choose

from xcore.contract import Cell, XcoreError, seeded
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

RANKS = ("context", "edited", "factorial", "prior")
SOURCES = ("vocabulary", "vqa")
FIGURES = ("precision of the first three", "AUC", "reciprocal rank of the planted factor")
Case = dict[tuple[str, int], float]


def main() -> None:
    """Rank what was not ranked before, and print the tables."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--networks", required=True, help="classifiers, separated by spaces")
    ask.add_argument("--ranks", default=",".join(RANKS))
    ask.add_argument("--sources", default=",".join(SOURCES))
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--out", type=Path, default=Path("runs/names"))
    flags = ask.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    bench = Workbench(load_registry(), Store(flags.out))
    file = flags.out / "results.json"
    known: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    rows: list[dict[str, Any]] = []
    for network in flags.networks.split():
        for cell in cells(network, flags.seeds):
            for source in flags.sources.split(","):
                for rank in flags.ranks.split(","):
                    options = {**cell.method.options, "rank": rank, "seeds": source}
                    key = json.dumps([bench.identity.explanation(cell), rank, source])
                    if key not in known:
                        known[key] = row(bench, cell, Options(**options), flags.out)
                        file.write_text(json.dumps(known))
                        print(
                            f"<!-- {network} {cell.cls} {cell.seed} {source} {rank}: {known[key]['seconds']:.0f} s -->"
                        )
                    rows.append(known[key])
    for network in dict.fromkeys(r["network"] for r in rows if not r["planted"]):
        table(network, [r for r in rows if r["network"] == network])
    table("Planted networks, the class of each", [r for r in rows if r["planted"]])


def cells(network: str, seeds: int) -> list[Cell]:
    """The cells of a network: all classes of the suite, or that of the shortcut."""
    planted = planted_in(network)
    suite = load_suite("minizoo-full").model_copy(
        update={"methods": ["rlpo"], "arms": [], "controls": [], "metrics": [], "seeds": list(range(seeds))}
        | {"classifiers": [network]} | ({"classes": [planted[0]]} if planted else {})
    )  # fmt: skip
    return list(make_plan(suite, load_registry()).cells)


def row(bench: Workbench, cell: Cell, options: Options, out: Path) -> dict[str, Any]:
    """The ranking of one cell beside the truth."""
    network, planted = cell.classifier.text, planted_in(cell.classifier.text)
    truth = truth_of(bench.dataset(cell.data), network)
    task, start = bench.task(cell, out, lambda step, total, note="": None), time.perf_counter()
    with seeded(cell.seed):
        found = choose(task, options)
        order = list(ranking(task, options, found).ordered())
    used = truth.used(cell.cls)
    named = [truth.phrases.get(p, frozenset()) for p in order]
    good = np.array([kind_of(n, used) == "all" for n in named])
    place = next((i for i, n in enumerate(named) if planted and n == frozenset([planted[1]])), None)
    return {
        "network": network, "class": cell.cls, "seed": cell.seed, "rank": options.rank, "source": options.seeds,
        "planted": planted and planted[1], "order": order, "seconds": time.perf_counter() - start,
        FIGURES[0]: float(good[:3].mean()),
        FIGURES[1]: area(-np.arange(len(order), dtype=float), good),
        FIGURES[2]: 0.0 if place is None else 1 / (1 + place),
    }  # fmt: skip


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """What each ranking names, and its differences from the image-text model's."""
    if not rows:
        return
    figures = FIGURES if rows[0]["planted"] else FIGURES[:2]
    print(f"\n## {title}\n\n| seed prompts | rank | {' | '.join(figures)} |\n" + "|---" * (2 + len(figures)) + "|")
    pairs = list(dict.fromkeys((r["source"], r["rank"]) for r in rows))
    for source, rank in pairs:
        cases = [of(rows, source, rank, figure) for figure in figures]
        print(f"| {source} | {rank} | {' | '.join(shown(case) for case in cases)} |")
    for source, rank in pairs:
        if rank == "prior" or (source, "prior") not in pairs:
            continue
        gaps = []
        for figure in figures:
            a, b = of(rows, source, rank, figure), of(rows, source, "prior", figure)
            gaps.append({k: a[k] - b[k] for k in a.keys() & b.keys()})
        print(f"| {source} | {rank} - prior | {' | '.join(shown_difference(gap) for gap in gaps)} |")


def of(rows: list[dict[str, Any]], source: str, rank: str, figure: str) -> Case:
    """(class of a network, seed) -> a figure; a class in which no prompt, or every prompt, is used has no AUC."""
    return {
        (f"{r['network']} {r['class']}", r["seed"]): r[figure]
        for r in rows
        if (r["source"], r["rank"]) == (source, rank) and np.isfinite(r[figure])
    }


if __name__ == "__main__":
    try:
        main()
    except XcoreError as error:
        raise SystemExit(str(error)) from None
