"""How well evidence by editing finds what a classifier of the minizoo uses.

``python benchmarks/edited_evidence.py --classes tiger,cow`` edits pictures of each class towards all concepts of the
data set and away from them, and compares the effects with the truth table: AUC of used against unused concepts (as
ranked, those that are untested last, and by the effect alone), precision among the first three, and the share of
concepts that are marked +, by how much of what they name is used: all, some or nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from xcore_evidence.edited import edited
from xcore_evidence.estimates import Evidence

from xcore.contract import Cell, Task
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

CLASSES = ("zebra", "tiger", "leopard", "horse", "cow", "panther", "swan", "clownfish")
DEVELOPMENT = ("tiger", "cow")
"""Classes on which the defaults were chosen."""
SUITE = Path(__file__).parent / "suites" / "minizoo.toml"
KINDS = ("all", "some", "nothing")


def cells(classifier: str) -> dict[str, Cell]:
    """Class -> a cell of the suite whose method has the generator."""
    suite = load_suite(str(SUITE)).model_copy(
        update={"methods": ["rlpo"], "arms": [], "controls": [], "seeds": [0], "classifiers": [classifier]}
        | {"leave_out": {}}  # which classes are reported is for the caller to say
    )
    return {cell.cls: cell for cell in make_plan(suite, load_registry()).cells}


def area(scores: np.ndarray, good: np.ndarray) -> float:
    """The area under the ROC curve; ties count half."""
    above, below = scores[good][:, None], scores[~good][None]
    return float(((above > below).sum() + 0.5 * (above == below).sum()) / (above.size * below.size))


def kind_of(named: frozenset[str], used: frozenset[str]) -> str:
    """How much of what a concept names is used."""
    return "all" if named and named <= used else "some" if named & used else "nothing"


def main() -> None:
    """Print a row for each class, and the means over classes for development and for reporting."""
    parser = argparse.ArgumentParser(description="Compares evidence by editing with the truth of the minizoo.")
    parser.add_argument("--classifier", default="minizoo/clean")
    parser.add_argument("--classes", default=",".join(CLASSES))
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--others", type=int, default=0)
    parser.add_argument("--strength", type=float, default=0.6)
    parser.add_argument("--towards-only", action="store_true", help="do not edit away from the phrases")
    parser.add_argument("--out", type=Path, default=Path("runs/edited-evidence"), help="where edited pictures are kept")
    args = parser.parse_args()
    bench, planned = Workbench(load_registry(), Store(args.out)), cells(args.classifier)
    work = args.out / "work"
    work.mkdir(exist_ok=True)
    print("| class | AUC | P@3 | marked: all used | some used | nothing used | untested | s |\n" + "|---" * 8 + "|")
    rows: dict[str, list[float]] = {}
    for cls in args.classes.split(","):
        task = bench.task(planned[cls], work, lambda step, total, note="": None)
        truth = bench.dataset(planned[cls].data).truth(args.classifier)
        assert truth is not None
        phrases, used = list(bench.dataset(planned[cls].data).concepts), truth.used(cls)
        start = time.perf_counter()
        found = _evidence(task, phrases, args)
        seconds = time.perf_counter() - start
        kinds = np.array([kind_of(truth.phrases[p], used) for p in phrases])
        marks = np.array([e.mark > 0 for e in found.estimates])
        order = found.ranked()
        scores = np.empty(len(order))
        scores[order] = -np.arange(len(order))  # as the ranking has it, those that are untested last
        by_effect = np.array([e.effect for e in found.estimates])
        shares = [float(marks[kinds == kind].mean()) if (kinds == kind).any() else np.nan for kind in KINDS]
        untested = sum(not e.tested for e in found.estimates)
        good = kinds == "all"
        rows[cls] = [
            area(scores, good),
            float(good[order[:3]].mean()),
            *shares,
            untested,
            seconds,
            area(by_effect, good),
        ]
        print(f"| {cls} | " + _row(rows[cls]), flush=True)
        for note in found.notes:
            print(f"  {note}")
        print("  first:", ", ".join(f"{phrases[i]} {found.estimates[i].effect:+.2f}" for i in order[:6]))
    for name, chosen in (
        ("development", [c for c in rows if c in DEVELOPMENT]),
        ("others", [c for c in rows if c not in DEVELOPMENT]),
    ):
        if chosen:
            print(f"| mean of {len(chosen)} ({name}) | " + _row(np.nanmean([rows[c] for c in chosen], 0).tolist()))


def _evidence(task: Task, phrases: list[str], args: argparse.Namespace) -> Evidence:
    return edited(
        task, phrases, images=args.images, others=args.others, strength=args.strength, away=not args.towards_only
    )


def _row(values: list[float]) -> str:
    auc, first, a, s, n, untested, seconds, effect = values
    figures = [f"{auc:.2f} (by effect {effect:.2f})", *(f"{v:.2f}" for v in (first, a, s, n))]
    return " | ".join([*figures, f"{untested:.0f}", f"{seconds:.0f} |"])


if __name__ == "__main__":
    main()
