"""Whether `xcore compare` tells runs apart that differ, and only these.

``python benchmarks/compare.py --out runs/compare``. CRAFT explains four classes of the minizoo in every run, with two
seeds (``--seeds``). 41 runs differ in nothing but their seeds, and each is compared with the next: whatever is called
different in one of these 40 pairs is a false alarm. In 20 pairs, the second run has the first one's seeds and smaller
crops: small parts of images look less like whole images of the class, so that CS and RCS fall and ED rises, and
`compare` must say so of one of them at least, and the contrary of none. The change and the rule of the comparison were
chosen on runs of other seeds (``--first-seed 100000``).

Runs are kept, so that an interrupted measurement goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from xcore.registry import Registry, load_registry
from xcore.report.comparison import Line, compare
from xcore.run.about import open_run
from xcore.run.loop import Bench
from xcore.run.plan import BudgetKeys, Suite, make_plan
from xcore.run.progress import Reporter
from xcore.store.run_directory import Store

CLASSES = ["zebra", "tiger", "cow", "swan"]
METRICS = ["CS", "ED", "RCS"]
BUDGET = {"samples": 8, "heldout": 8}
CRAFT = {"k": 3, "designs": 4, "exemplars": 4, "stride": 1.0}
CHANGE = {"crop": 12}
MOVES = {"CS": -1, "ED": 1, "RCS": -1}
"""The sign of what the change does to each metric."""
CALLED = ("better", "worse", "different")


def main() -> None:
    """Make the runs and print what was called different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2, help="seeds of each run")
    parser.add_argument("--same", type=int, default=40, help="pairs of runs that differ only in seeds")
    parser.add_argument("--changed", type=int, default=20, help="pairs of runs of which the second has smaller crops")
    asked = parser.parse_args()
    registry, begun = load_registry(), time.process_time()
    runs: list[Path] = []
    others: list[tuple[Path, Path]] = []
    for number in range(max(asked.same + 1, asked.changed)):
        runs.append(made(asked, number, {}, registry))
        if number % 2 == 0 and len(others) < asked.changed:  # so that an interrupted measurement has some of both
            others.append((runs[-1], made(asked, number, CHANGE, registry)))
    print(f"Command: `{shlex.join(['python', *sys.argv])}`\n")
    print(f"{len(runs) + len(others)} runs, {time.process_time() - begun:.0f} s of processor time in this process\n")
    same = [compare(*runs[i : i + 2], registry=registry).lines for i in range(asked.same)]
    changed = [compare(*pair, registry=registry).lines for pair in others]
    alarms = [lines for lines in same if any(line.verdict in CALLED for line in lines)]
    found = [lines for lines in changed if _found(lines)]
    print(
        f"pairs that differ only in seeds: {len(alarms)} of {len(same)} called different (at most 5 of 40 are allowed)"
    )
    print(_by_metric(same))
    print(
        f"pairs with smaller crops: {len(found)} of {len(changed)} found, with the right sign (18 of 20 are asked for)"
    )
    print(_by_metric(changed))


def made(asked: argparse.Namespace, number: int, change: Mapping[str, object], registry: Registry) -> Path:
    """The directory of one run, of which what is missing is made; without pictures and tables, which nothing reads."""
    first = asked.first_seed + asked.seeds * number
    path = asked.out / f"{'changed' if change else 'run'}-{first}"
    seeds = list(range(first, first + asked.seeds))
    suite = Suite(
        data="minizoo",
        classes=CLASSES,
        methods=["craft"],
        metrics=METRICS,
        seeds=seeds,
        set={"craft": {**CRAFT, **change}},
        budget=BudgetKeys(**BUDGET),
        threads=1,
    )
    store = Store(path)
    with store.locked():
        loop = Bench(make_plan(suite, registry), registry, store, Reporter())
        done = loop.run(begin=partial(open_run, loop))
    assert done.count("ok") == len(CLASSES) * asked.seeds, path
    assert not done.score_failures, path
    return path


def _found(lines: Sequence[Line]) -> bool:
    """Whether the change is called by a metric that it moves, and none is called with the wrong sign."""
    called = [line for line in lines if line.verdict in CALLED]
    return bool(called) and all((line.difference or 0) * MOVES[line.metric] > 0 for line in called)


def _by_metric(pairs: Sequence[Sequence[Line]]) -> str:
    """How often each metric was called what."""
    counts = Counter((line.metric, line.verdict) for lines in pairs for line in lines)
    rows = [f"| {metric} | {verdict} | {counts[metric, verdict]} |" for metric, verdict in sorted(counts)]
    return "\n".join(["", "| metric | verdict | pairs |", "|---|---|--:|", *rows, ""])


if __name__ == "__main__":
    main()
