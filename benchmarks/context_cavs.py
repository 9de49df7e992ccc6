"""TCAV in context on the minizoo, judged by the truth tables: `python benchmarks/context_cavs.py minizoo/clean`.

Phrases are the 43 of the vocabulary. A phrase is *used* if the classifier uses every factor value that it names, in
part if it uses some of them, otherwise it names nothing used. The table gives, as means over classes, the area under
the ROC curve of used phrases against all others and the precision of the first three, for three rankings; then the
share of each kind that is marked. Level: the share of p <= .05 on each side, and of families with a mark, when the
presence of the phrases is permuted against the samples, so that no phrase can matter (20 times for each class, or as a
second argument says).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from xcore_evidence.observed import CHOSEN, POOL
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import pool_of, presence
from xcore_tcav.context import scores_in_context
from xcore_tcav.layer_scores import open_scorer
from xcore_tcav.options import TcavOptions

from xcore.contract import Cell, Ref
from xcore.registry import load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

CLASSES = ("tiger", "cow", "zebra", "leopard", "horse", "panther", "swan", "clownfish")


def main(classifier: str, permutations: int) -> None:
    """Print the tables."""
    bench = Workbench(load_registry(), Store(Path("runs/level")))
    rows, marked, level = [], {"used": [], "in part": [], "nothing used": []}, []  # type: ignore[var-annotated]
    rankings = ("effect (unit CAV)", "coefficient", "t")
    for cls in CLASSES:
        cell = Cell(
            "tcav", Ref("tcav"), Ref(classifier), Ref("minizoo"), cls, 0, models={"image-text": Ref("minizoo/clip")}
        )
        task = bench.task(cell, Path(), lambda step, total, note="": None)
        truth = bench.dataset(cell.data).truth(classifier)
        assert truth is not None
        phrases, _ = candidates(task, (), "", "tcav.vocabulary", "--set tcav.phrases=a,b,c")
        named, used = [truth.phrases[p] for p in phrases], truth.used(cls)
        good = np.array([bool(n) and n <= used for n in named])
        part = np.array([bool(n & used) for n in named]) & ~good
        scorer = open_scorer(task, task.layer or task.classifier.default_layer, TcavOptions())
        pool = pool_of(task, POOL, CHOSEN)
        read = presence(task, pool.samples, phrases)
        found = scores_in_context(scorer, phrases, pool, read, 0.05, 0)
        made = found.evidence.estimates
        effect = np.array([float(scorer.local(v).mean()) for v in found.cavs])
        by = (effect, np.array([e.effect for e in made]), np.array([e.t for e in made]))
        rows.append([[_auc(values, good), _first_three(values, good)] for values in by])
        marks = np.array([e.mark for e in made])
        for kind, of in (("used", good), ("in part", part), ("nothing used", ~good & ~part)):
            marked[kind] += marks[of].tolist()
        for i in range(permutations):
            order = torch.from_numpy(np.random.default_rng([3, i]).permutation(len(read)))
            again = scores_in_context(scorer, phrases, pool, read[order], 0.05, 0).evidence.estimates
            sides = [[e.p <= 0.05 for e in again], [e.p_against <= 0.05 for e in again], [e.mark != 0 for e in again]]
            level.append([np.mean(sides[0]), np.mean(sides[1]), any(sides[2])])
        print(
            cls,
            " ".join(f"{name}: {a:.2f} {p:.2f};" for name, (a, p) in zip(rankings, rows[-1], strict=True)),
            flush=True,
        )
    print(f"\nCommand: `python benchmarks/context_cavs.py {classifier} {permutations}`\n")
    print("| ranking | AUC | P@3 |\n|---|---|---|")
    for name, (auc, first) in zip(rankings, np.mean(rows, axis=0), strict=True):
        print(f"| {name} | {auc:.2f} | {first:.2f} |")
    print("\n| phrases | raise | lower | phrases x classes |\n|---|---|---|---|")
    for kind, marks in marked.items():
        print(f"| {kind} | {np.mean(np.array(marks) > 0):.2f} | {np.mean(np.array(marks) < 0):.2f} | {len(marks)} |")
    up, down, any_mark = np.mean(level, axis=0)
    print(f"\npermuted: p <= .05 {up:.3f} above, {down:.3f} below; families with a mark {any_mark:.3f} of {len(level)}")


def _auc(values: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    above = (values[good][:, None] > values[~good]).mean() + (values[good][:, None] == values[~good]).mean() / 2
    return float(above)


def _first_three(values: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    return float(good[np.argsort(-values, kind="stable")[:3]].mean())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1] if len(sys.argv) > 1 else "minizoo/clean", int(sys.argv[2]) if len(sys.argv) > 2 else 20)
