"""How much TS and alpha-TCAV vary from one concept set to another: `python benchmarks/smooth_tcav.py`.

The first table is of budgets of N pictures of a concept, and of as many random ones, drawn anew --draws times. From
each draw come one CAV of all N against all N random pictures, and the mean over many CAVs of 10 against 10. It gives
the variance of both scores over the draws, as a mean over phrases and classes, for phrases and for random sets in their
place. The scale of alpha-TCAV is the median |g.v| over random sets of the same budget, and alpha is --sharpness.

The second table chooses alpha: the variance of the score over the random sets of the null distribution (10 pictures, 10
negatives), as a share of that of TS, on the development classes and on the others; beside it the area under the ROC
curve by which the score ranks phrases that name used values, and nothing else, above all others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from xcore_metrics.recovery import auc
from xcore_tcav.inference import Floats
from xcore_tcav.metric import scale_of, smooth
from xcore_tcav.negatives import NegativeSets
from xcore_tcav.scorer import Scorer

from xcore.contract import Cell, Ref, Samples, Task
from xcore.registry import load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

DEVELOPMENT, OTHERS = ("tiger", "cow", "zebra", "leopard"), ("horse", "panther", "swan", "clownfish")
PHRASES = ("striped texture", "orange texture", "grass")
SMALL, NEGATIVES = 10, 10
ALPHAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", default="minizoo/clean")
    parser.add_argument("--budgets", default="10,20,40,80", help="pictures of a concept, multiples of 10")
    parser.add_argument("--draws", type=int, default=12, help="concept sets of each budget")
    parser.add_argument("--sharpness", type=float, default=1.0, help="alpha of the first table")
    parser.add_argument("--null", type=int, default=99, help="random sets of the second table")
    arguments = parser.parse_args()
    bench = Workbench(load_registry(), Store(Path("runs/smooth")))
    tasks = {c: _task(bench, arguments.classifier, c) for c in (*DEVELOPMENT, *OTHERS)}
    budgets = [int(n) for n in arguments.budgets.split(",")]
    _print_budgets(tasks, budgets, arguments.draws, arguments.sharpness)
    _print_alphas(bench, tasks, arguments.classifier, arguments.null)


def _task(bench: Workbench, classifier: str, cls: str) -> Task:
    cell = Cell("tcav", Ref("tcav"), Ref(classifier), Ref("minizoo"), cls, 0)
    return bench.task(cell, Path(), lambda step, total, note="": None)


def _print_budgets(tasks: dict[str, Task], budgets: Sequence[int], draws: int, sharpness: float) -> None:
    first = next(iter(tasks.values()))
    probe = first.classifier.open(first.layer)
    gradients = {c: probe.gradients(t.samples, t.target).flatten(1).float() for c, t in tasks.items()}

    def activations(samples: Samples) -> Tensor:
        return probe.activations(samples).flatten(1).float()

    most = max(budgets)
    negatives = [activations(first.data.samples("other", "train", most, 1000 + d)) for d in range(draws)]
    concepts = {p: [activations(first.data.concept(p, most, 1000 + d)) for d in range(draws)] for p in PHRASES}
    random = [activations(first.data.samples("other", "explain", most, 2000 + d)) for d in range(draws)]
    print(f"| N | sets | CAVs | {' | '.join(f'{what} of {of}' for of in ('TS', 'alpha-TCAV') for what in COLUMNS)} |")
    print("|---|---|---|" + "---|" * 2 * len(COLUMNS))
    for n in budgets:
        for cavs, size in (("one", n), ("many", SMALL)):
            found: dict[str, list[list[float]]] = {"phrases": [], "random": []}
            for g in gradients.values():
                by_chance = [_sensitivities(random[d][:n], negatives[d][:n], g, size) for d in range(draws)]
                scale = scale_of(np.stack(by_chance))
                found["random"].append(_variances(by_chance, scale, sharpness))
                for sets in concepts.values():
                    own = [_sensitivities(sets[d][:n], negatives[d][:n], g, size) for d in range(draws)]
                    found["phrases"].append(_variances(own, scale, sharpness))
            for kind, rows in found.items():
                means = np.mean(rows, axis=0)
                shown = [f"{v:.5f} | {n * v:.3f}" for v in means]
                print(f"| {n} | {kind} | {cavs} | {' | '.join(shown)} |", flush=True)


COLUMNS = ("variance", "N x variance")


def _sensitivities(own: Tensor, random: Tensor, gradients: Tensor, size: int) -> Floats:
    """(CAVs, m) g.v of unit CAVs of sets of this size, every set of `own` against every set of `random`."""
    negatives = NegativeSets(random.view(-1, size, random.shape[1]), gradients, 1.0)
    found = negatives.sensitivity(negatives.fitted(list(own.view(-1, size, own.shape[1]))))
    s: Floats = found.flatten(0, 1).numpy()
    return s


def _variances(draws: Sequence[Floats], scale: float, sharpness: float) -> list[float]:
    """Variances over draws of TS and of the smooth score."""
    ts = [float((s > 0).mean()) for s in draws]
    soft = [float(smooth(s, scale, sharpness).mean()) for s in draws]
    return [float(np.var(ts, ddof=1)), float(np.var(soft, ddof=1))]


def _print_alphas(bench: Workbench, tasks: dict[str, Task], classifier: str, sets_of_null: int) -> None:
    ratios: dict[str, list[list[float]]] = {"development": [], "others": []}
    areas: dict[str, list[list[float]]] = {"development": [], "others": []}
    for cls, task in tasks.items():
        part = "development" if cls in DEVELOPMENT else "others"
        truth = bench.dataset(Ref("minizoo")).truth(classifier)
        assert truth is not None, f"{classifier} has no truth table"
        used = truth.used(cls)
        probe = task.classifier.open(task.layer)
        scorer = Scorer(probe, task.target, task.samples, task.random_set, negatives=NEGATIVES, folds=0)
        null = scorer.null(sets_of_null, SMALL).sensitivity
        sets = [task.data.concept(phrase, SMALL, 5) for phrase in task.vocabulary]
        own = [score.sensitivity for score in scorer.score_many(sets)]
        good = [bool(truth.phrases[p]) and truth.phrases[p] <= used for p in task.vocabulary]
        scale = scale_of(null)
        by_chance = [(null > 0).mean((1, 2)), *(smooth(null, scale, a).mean((1, 2)) for a in ALPHAS)]
        scores = [[(s > 0).mean() for s in own], *([smooth(s, scale, a).mean() for s in own] for a in ALPHAS)]
        ratios[part].append([float(b.var() / by_chance[0].var()) for b in by_chance])
        areas[part].append([auc([float(x) for x in values], good) or float("nan") for values in scores])
    print("\n| alpha | null variance / TS: development | others | AUC of used phrases: development | others |")
    print("|---|---|---|---|---|")
    for i, alpha in enumerate(("TS", *ALPHAS)):
        cells = [float(np.mean(table[part], axis=0)[i]) for table in (ratios, areas) for part in table]
        print(f"| {alpha} | {' | '.join(f'{x:.3f}' for x in cells)} |")


if __name__ == "__main__":
    main()
