"""RLPO's table as published, beside ours: `python benchmarks/paper.py --data folder:PHOTOS` (docs/paper.md).

It prints what the run will cost and which models are there, runs the suite `paper`, and prints the
published rows beside ours. With ``--stand-ins DIR`` it runs the same suite on tiny models with random weights and on
painted pictures, which it writes to the directory: their figures say nothing, but only weights are missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.api import BenchResult, bench, request
from xcore.cli.doctor import lines
from xcore.contract import Ref, XcoreError
from xcore.registry import Registry, load_registry
from xcore.report.rows import ResultRow
from xcore.report.table import MARK
from xcore.run.needs import needs
from xcore.run.plan import Suite
from xcore.run.progress import Lines

SUITE = "paper"

METRICS = ("CS", "ED", "RCS", "RED")
PUBLISHED: Mapping[tuple[str, int], tuple[tuple[float, float], ...]] = {
    ("eac", 1): ((0.76, 0.03), (7.21, 0.63), (0.67, 0.14), (6.34, 2.16)),
    ("lens", 1): ((0.77, 0.02), (7.17, 0.34), (0.50, 0.18), (9.70, 3.20)),
    ("lens", 2): ((0.72, 0.04), (8.02, 0.87), (0.42, 0.10), (10.90, 2.80)),
    ("lens", 3): ((0.69, 0.05), (8.45, 0.96), (0.45, 0.05), (11.03, 2.17)),
    ("craft", 1): ((0.76, 0.04), (7.37, 0.62), (0.57, 0.16), (8.80, 3.20)),
    ("craft", 2): ((0.72, 0.02), (8.25, 0.39), (0.50, 1.90), (9.90, 3.40)),
    ("craft", 3): ((0.73, 0.04), (7.98, 0.79), (0.44, 0.07), (10.80, 1.90)),
    ("rlpo", 1): ((0.52, 0.04), (10.48, 0.50), (0.04, 0.01), (16.80, 1.40)),
    ("rlpo", 2): ((0.49, 0.02), (10.65, 0.20), (0.02, 0.02), (17.20, 0.80)),
    ("rlpo", 3): ((0.49, 0.02), (10.74, 0.30), (0.03, 0.01), (17.60, 4.40)),
}
"""(method, rank of the concept) -> mean and spread of each of METRICS. TS is 1.0 in every row."""
HOURS = 7
"""What the authors report for RLPO and one class on an RTX 4090, where tuning takes most of the time."""

FEW: Mapping[str, Mapping[str, Any]] = {
    "rlpo": {"steps": 6, "learning_starts": 2, "actions": 4, "vqa_images": 2, "trajectory_every": 3, "rank_sets": 1},
    "eac": {"coalitions": 64},
    "lens": {"k": 3},
    "craft": {"k": 3, "designs": 8},
    "TS": {"negatives": 3, "null": 19, "alpha": 0.5},
    "diffusion": {"steps": 2, "batch_size": 10, "pairs_at_once": 1},
    "sam": {"points_per_side": 4, "pred_iou_thresh": -100, "stability_score_thresh": -1},
    "blip-vqa": {"max_tokens": 2},
    "torchvision": {"pretrained": False},
}
"""How stand-ins are run: in small numbers, and with all masks of the segmenter, since a random one is sure of none."""
FEW_SAMPLES = 8
LONGEST = 40
"""Characters of a concept's name that a table shows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the cost and what is missing, run the suite, and print the tables; the exit status."""
    asked = _parsed(arguments)
    keys: dict[str, Any] = {"seeds": list(range(asked.seeds))}
    if asked.stand_ins:
        from paper_stand_ins import make

        keys |= {**make(asked.stand_ins), "set": {name: dict(options) for name, options in FEW.items()}}
        keys |= {"budget": {"samples": FEW_SAMPLES, "heldout": FEW_SAMPLES}}
    if asked.data:
        keys["data"] = asked.data
    registry = load_registry()
    wanted = request((), SUITE, keys, registry)
    print("\n".join(["What it will cost:", *(f"  {line}" for line in cost(wanted, registry))]), flush=True)
    found = needs(wanted, registry)
    print("\n".join(["What it needs:", *(f"  {line}" for line in lines(found))]), flush=True)
    if absent := sum(bool(need.problem) for need in found):
        print(f"{absent} of these are missing; nothing was run")
        return 3
    if asked.check:
        return 0
    print(f"Running into {asked.out}; if it is interrupted, the same command continues it", flush=True)
    start = time.perf_counter()
    made = bench(suite=SUITE, out=asked.out, registry=registry, reporter=Lines(), **keys)
    print(f"done in {time.perf_counter() - start:.0f} s\n")
    if asked.stand_ins:
        print("Stand-ins with random weights: the figures of this run say nothing.\n")
    print("\n".join(tables(made, wanted.classes)))
    return 1 if made.broken else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="photographs of ImageNet's classes, e.g. folder:DIR with one sub-folder each")
    parser.add_argument("--stand-ins", type=Path, metavar="DIR", help="run on tiny models, which are written to DIR")
    parser.add_argument("--check", action="store_true", help="only print what it will cost and what is missing")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="run directory")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    return parser.parse_args(arguments)


def cost(suite: Suite, registry: Registry) -> list[str]:
    """What a run costs, in numbers of calls for each class and seed, and the published time."""
    rlpo, eac = (registry.options("explainer", Ref(m, suite.set.get(m, {}))) for m in ("rlpo", "eac"))
    generator = registry.options("generator", Ref(suite.generator, suite.set.get(suite.generator.split(":")[0], {})))
    shown = rlpo.actions * (rlpo.rank_sets * rlpo.n + rlpo.shown)
    followed = (rlpo.steps // rlpo.trajectory_every + 2) * rlpo.trajectory_samples
    drawn = 2 * rlpo.n * rlpo.steps + shown + followed
    asked = min(rlpo.vqa_images, suite.budget.samples) * rlpo.vqa_grid**2 * 7
    runs = len(suite.classes) * len(suite.seeds)
    return [
        f"rlpo: at most {drawn:,} pictures are drawn, each in {generator.steps} steps of the sampler, and 240 once for "
        "the random sets of the metrics",
        f"rlpo: at most {rlpo.steps * rlpo.adapt['steps']:,} steps of DPO on {rlpo.n} pairs, and {asked:,} questions",
        f"eac: at most {suite.budget.samples * eac.coalitions:,} pictures are classified, and the masks of "
        f"{suite.budget.samples} pictures are found",
        f"all this {runs} times (classes x seeds); lens and craft take seconds",
        f"the authors report {HOURS} hours for rlpo and one class on an RTX 4090 with the published numbers",
    ]


def tables(made: BenchResult, classes: Sequence[str]) -> list[str]:
    """Markdown: for each class, the published rows beside ours; and what could not be computed.

    Parameters
    ----------
    classes
        The classes as the suite calls them, in its order; the photographs may call them otherwise.
    """
    lines = []
    for name, cls in zip(classes, dict.fromkeys(row["class"] for row in made.rows), strict=True):
        rows = [row for row in made.rows if row["class"] == cls]
        lines += [
            f"## {name}" + (f" ({cls})" if cls != name else ""),
            "",
            "| concept | TS | raises the class |" + _heads(),
            "|---" * (3 + 2 * len(METRICS)) + "|",
        ]
        lines += [_line(method, rank, rows) for method, rank in PUBLISHED]
        lines += [""]
    failed = [f"{r['label']} {r['class']}: {r['reason']}" for r in made.rows if r["status"] != "ok"]
    lines += [
        "TS is 1.0 in every published row. Spreads: ours are over the concept's pictures; the published ones are not "
        "explained, and that of craft C2 in RCS cannot be right for a cosine.",
        *failed,
    ]
    return lines


def _heads() -> str:
    return "".join(f" {metric} published | {metric} ours |" for metric in METRICS)


def _line(method: str, rank: int, rows: Sequence[ResultRow]) -> str:
    found = [row for row in rows if row["label"] == method and row["rank"] == rank]
    names = ", ".join(dict.fromkeys(row["concept"] for row in found)) or "none"
    names = names if len(names) <= LONGEST else f"{names[:LONGEST]}..."
    cells = [f"{method} C{rank} ({names})", _ours(found, "TS"), _raises(found)]
    for metric, (mean, spread) in zip(METRICS, PUBLISHED[method, rank], strict=True):
        cells += [f"{mean:.2f} ± {spread:.2f}", _ours(found, metric)]
    return "| " + " | ".join(cells) + " |"


def _scores(rows: Sequence[ResultRow], metric: str) -> list[Mapping[str, Any]]:
    scores = [row["scores"][metric] for row in rows if metric in row["scores"]]
    return [score for score in scores if score["value"] is not None]


def _ours(rows: Sequence[ResultRow], metric: str) -> str:
    """Mean over the seeds of the value and of its spread."""
    scores = _scores(rows, metric)
    if not scores:
        return "n/a"
    mean = sum(score["value"] for score in scores) / len(scores)
    spreads = [score["spread"] for score in scores if score["spread"] is not None]
    return f"{mean:.2f}" + (f" ± {sum(spreads) / len(spreads):.2f}" if spreads else "")


def _raises(rows: Sequence[ResultRow]) -> str:
    """In how many seeds the concept raises the class more than random ones."""
    scores = _scores(rows, "TS")
    return f"{sum(score['details'].get(MARK, 0) > 0 for score in scores)} of {len(scores)}" if scores else "n/a"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except XcoreError as error:
        sys.exit(f"paper.py: {error}")
