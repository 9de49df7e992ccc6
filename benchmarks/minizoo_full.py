"""What the long run shows: `python benchmarks/minizoo_full.py runs/minizoo-full` prints it as Markdown.

Every difference is paired by class and seed. For each classifier, means are over classes, of means over seeds;
intervals are 95 % intervals of Student's t over the n classes, and p-values are of exact sign-flip tests (see
`intervals`). Beside each arm stand the updates that it made and the images that it drew.

`--picture CLASS FILE` writes a picture of the first three concepts of each arm for a class, of the first seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from intervals import shown, shown_difference
from matplotlib.figure import Figure
from paired import by_classifier, minus, paper_order

from xcore.api import BenchResult, report
from xcore.contract import Outcome
from xcore.report.rows import ResultRow
from xcore.store.run_directory import Store

ARM, OTHERS = (
    "rlpo",
    (
        "rlpo-factorial",
        "rlpo-tcav",
        "rlpo-ranking",
        "rlpo-random",
        "rlpo-untuned",
        "rlpo-questions",
        "craft",
    ),
)
SHOWN, DRAWINGS = 3, 5
"""Concepts of an arm in the picture, and drawings of each."""


def main(runs: Sequence[str], picture: Sequence[str] | None = None) -> None:
    """Print all sections for a run directory, or for several that share the cells of the suite."""
    results = [report(run) for run in runs]
    if picture:
        beside(results, *picture)
    rows = [r for result in results for r in result.rows if r["status"] == "ok"]
    print(f"Command: `xcore bench --suite minizoo-full`, then `python benchmarks/minizoo_full.py {' '.join(runs)}`\n")
    outcomes = [(Store(r.path), o) for r in results for o in r.result.outcomes if o.status == "ok"]
    for classifier, own in by_classifier(rows).items():
        labels = list(dict.fromkeys(r["label"] for r in own))
        classes = list(dict.fromkeys(r["class"] for r in own))
        made = [(store, o) for store, o in outcomes if o.cell.classifier.text == classifier]
        print(f"# {classifier}: {len(classes)} classes ({', '.join(classes)})\n")
        recovery(own, [label for label in labels if label in (ARM, *OTHERS)])
        effort(made)
        best_so_far(made)
        paper_order(own, ARM, ["craft"])


def recovery(rows: Sequence[ResultRow], labels: Sequence[str]) -> None:
    """Precision@3 and AUC of every arm beside chance, and RLPO's differences from the others."""
    print("## Recovery of what the classifier uses\n")
    print("| arm | precision@3 | chance | minus chance | AUC |\n|---|---|---|---|---|")
    for label in labels:
        value, chance = cases(rows, label, "value"), cases(rows, label, "chance")
        gain = {k: value[k] - chance[k] for k in value}
        print(f"| {label} | {shown(value)} | {shown(chance)} | {shown(gain)} | {shown(cases(rows, label, 'auc'))} |")
    print("\n| difference of precision@3 | paired by class and seed, p by sign flips |\n|---|---|")
    own, read = cases(rows, ARM, "value"), variants(rows, ARM)
    for other in labels:
        theirs = cases(rows, other, "value")
        if other == ARM or not own.keys() & theirs.keys():
            continue
        if variants(rows, other) != read:  # phrases cannot be misread, pictures can
            print(f"| {ARM} - {other} | not compared: {'/'.join(read)} against {'/'.join(variants(rows, other))} |")
        else:
            print(f"| {ARM} - {other} | {shown_difference(minus(own, theirs))} |")
    print()


def effort(outcomes: Sequence[tuple[Store, Outcome]]) -> None:
    """Updates and drawn images of each arm: arms that differ in these are not compared by their policy alone."""
    print("## Updates of the generator, and images drawn\n")
    made: dict[str, list[tuple[int, int]]] = {}
    for store, outcome in outcomes:
        record = store.read(outcome.record.rpartition(".")[2])
        if record and (trace := record["explanation"]["trace"]) and "updated" in trace[0]:
            updates = sum(bool(step["updated"]) for step in trace)
            made.setdefault(outcome.cell.label, []).append((updates, record["explanation"]["cost"]["generated"]))
    print("| arm | updates, mean over explanations | from - to | images drawn, mean |\n|---|---|---|---|")
    for label, cells in made.items():
        updates, drawn = zip(*cells, strict=True)
        print(f"| {label} | {np.mean(updates):.1f} | {min(updates)} - {max(updates)} | {np.mean(drawn):.0f} |")
    print()


def best_so_far(outcomes: Sequence[tuple[Store, Outcome]]) -> None:
    """Mean over cells of the best TS of a group so far, by the number of images drawn."""
    print("## Best TS so far, by images drawn\n")
    curves: dict[str, list[tuple[list[int], list[float]]]] = {}
    for store, outcome in outcomes:
        record = store.read(outcome.record.rpartition(".")[2])
        trace = record["explanation"]["trace"] if record else []
        if trace and "ts" in trace[0]:
            best = np.maximum.accumulate([max(step["ts"]) for step in trace]).tolist()
            images = [step["images"] for step in trace]
            curves.setdefault(outcome.cell.label, []).append((images, best))
    if not curves:
        print("no traces\n")
        return
    at = [20, 100, 200, 400, 800, 1200, 1600, 2000]
    print("| arm | " + " | ".join(str(a) for a in at) + " |\n|---|" + "---|" * len(at))
    for label, made in curves.items():
        # A run that ended early has found what it found: its last value stays.
        values = [np.mean([float(np.interp(a, images, best)) for images, best in made]) for a in at]
        print(f"| {label} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    print()


def beside(results: Sequence[BenchResult], cls: str, file: str) -> None:
    """A picture with a row for each arm: drawings of its first concepts for one class, with their names."""
    made = {}
    for result in results:
        for o in result.result.outcomes:
            if o.status == "ok" and o.cell.cls == cls and o.cell.label in (ARM, *OTHERS):
                made.setdefault(o.cell.label, (Store(result.path), o))
    figure = Figure(figsize=(12, 1.15 * len(made)), layout="constrained")
    axes = figure.subplots(len(made), SHOWN, squeeze=False)
    for row, (label, (store, o)) in zip(axes, made.items(), strict=True):
        concepts = store.load(o.record.rpartition(".")[2]).concepts
        for ax, concept in zip(row, concepts, strict=False):
            images = concept.samples.images[:DRAWINGS].permute(2, 0, 3, 1).flatten(1, 2)
            ax.imshow(images.clamp(0, 1).numpy(), interpolation="nearest")
            ax.set_title(concept.name or "", fontsize=8)
        for ax in row:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_frame_on(False)
        row[0].set_ylabel(label.removeprefix("rlpo-"), rotation=0, ha="right", va="center", fontsize=9)
    figure.savefig(file, dpi=100, metadata={"Software": None})


def cases(rows: Sequence[ResultRow], label: str, what: str) -> dict[tuple[str, int], float]:
    """A figure of the recovery of every (class, seed) of an arm; "value" is precision@3, others are its details."""
    found = {}
    for row in rows:
        score = row["overall"].get("recovery") if row["label"] == label else None
        if score and score["value"] is not None:
            value = score["value"] if what == "value" else score["details"].get(what)
            if value is not None:
                found[row["class"], row["seed"]] = float(value)
    return found


def variants(rows: Sequence[ResultRow], label: str) -> list[str]:
    """How the concepts of an arm were read: by their phrases, or by the oracle."""
    scores = [row["overall"].get("recovery") for row in rows if row["label"] == label]
    return sorted({s["variant"] for s in scores if s and s["value"] is not None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=["runs/minizoo-full"], metavar="RUN")
    parser.add_argument("--picture", nargs=2, metavar=("CLASS", "FILE"))
    given = parser.parse_args()
    main(given.runs, given.picture)
