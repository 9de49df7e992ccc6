"""What a whole table shows: `python benchmarks/minizoo.py runs/minizoo` prints it as Markdown.

Means are over classes, of means over seeds, for each classifier; intervals are 95 % intervals of Student's t over the n
classes, and p-values of differences are of exact sign-flip tests (see `intervals`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from intervals import shown
from paired import Score, by_classifier, paper_order, top_three

from xcore.api import report
from xcore.report.rows import ResultRow
from xcore.report.table import MARK


def main(run: str) -> None:
    """Print all sections for a run directory."""
    made = report(run)
    rows = [r for r in made.rows if r["status"] == "ok"]
    print(f"Command: `xcore bench --suite {made.suite}`, then `python benchmarks/minizoo.py {run}`\n")
    for classifier, own in by_classifier(rows).items():
        labels = list(dict.fromkeys(r["label"] for r in own))
        classes = list(dict.fromkeys(r["class"] for r in own))
        print(f"# {classifier}: {len(classes)} classes ({', '.join(classes)})\n")
        per_concept(own, labels)
        whole(own, labels)
        if "rlpo" in labels:
            paper_order(own, "rlpo", [label for label in ("eac", "lens", "craft") if label in labels])
    for r in made.rows:
        if r["status"] != "ok":
            print(f"- {r['label']} on {r['classifier']}, {r['class']}, seed {r['seed']}: {r['status']}: {r['reason']}")


def per_concept(rows: Sequence[ResultRow], labels: Sequence[str]) -> None:
    """Metrics of concepts, mean of the first three."""
    print("## The first three concepts\n")
    metrics = ["TS", "CS", "ED", "RCS", "RED", "localisation", "pointing"]
    print(
        "| method | TS | marked: raises the class | "
        + " | ".join(metrics[1:5])
        + " | localisation - chance | pointing - chance |"
    )
    print("|---|" + "---|" * 8)
    for label in labels:
        raises = top_three(rows, label, "TS", lambda s: float(s["details"].get(MARK, 0) > 0))
        cells = [shown(top_three(rows, label, "TS")), shown(raises)]
        cells += [shown(top_three(rows, label, m)) for m in metrics[1:5]]
        cells += [shown(top_three(rows, label, m, above_chance)) for m in metrics[5:]]
        print(f"| {label} | " + " | ".join(cells) + " |")
    print()


def whole(rows: Sequence[ResultRow], labels: Sequence[str]) -> None:
    """Metrics of explanations; each variant is an experiment of its own."""
    print("## The whole explanation\n")
    names = dict.fromkeys(
        (s["metric"], s["variant"]) for r in rows for s in r["overall"].values() if s["value"] is not None
    )
    for metric, variant in names:
        if metric == "cost":
            continue
        title = f"{metric} [{variant}]" if variant else metric
        print(f"| {title} | value | minus chance | cases |\n|---|---|---|---|")
        for label in labels:
            found = overall(rows, label, metric, variant)
            if found:
                value = {k: float(s["value"]) for k, s in found.items()}
                gain = {k: g for k, s in found.items() if (g := above_chance(s)) is not None}
                print(f"| {label} | {shown(value)} | {shown(gain)} | {len(value)} |")
        print()
    print("| seconds of one explanation | mean | most | share of what its explanations have in common |")
    print("|---|---|---|---|")
    for label in labels:
        cells = {(r["class"], r["seed"]): r for r in rows if r["label"] == label}.values()
        seconds = [r["seconds"] for r in cells]
        shared = np.mean([r["shared_seconds"] for r in cells])
        print(f"| {label} | {np.mean(seconds):.1f} | {max(seconds):.1f} | {shared:.1f} |")
    print()


def above_chance(score: Score) -> float | None:
    """The value less its chance level, where it has one."""
    chance = score["details"].get("chance")
    return None if chance is None else float(score["value"]) - float(chance)


def overall(rows: Sequence[ResultRow], label: str, metric: str, variant: str) -> Mapping[tuple[str, int], Score]:
    """The score of every (class, seed) of a method in one variant of a metric."""
    return {
        (row["class"], row["seed"]): score
        for row in rows
        if row["label"] == label
        for score in row["overall"].values()
        if (score["metric"], score["variant"]) == (metric, variant) and score["value"] is not None
    }


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/minizoo")
