"""What RLPO finds on text: `python benchmarks/text.py` runs the arms on ten draws of reviews and prints it as Markdown.

Draw i explains other reviews than draw j, and all arms of a draw explain the same ones, with the same seed. There are
only two classes, so the draws are the sample: what is said holds for this classifier and these classes. The two classes
of a draw are averaged, differences are paired, and intervals and tests are over the n draws (see `intervals`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from intervals import Cases, shown, shown_difference
from minizoo_full import cases
from paired import minus
from sklearn.metrics import roc_auc_score

from xcore.api import bench
from xcore.contract import Ref, Samples
from xcore.inputs.words import content_words
from xcore.registry import load_registry
from xcore.report.rows import ResultRow
from xcore.run.progress import Lines
from xcore.run.random_sets import RandomSets

OWN, OTHERS = "rlpo", ("rlpo-ranking", "rlpo-random", "tcav")


def main() -> None:
    """Run what is not finished and print all sections."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--draws", type=int, default=10)
    ask.add_argument("--out", default="runs/text-draws")
    flags = ask.parse_args()
    rows: list[ResultRow] = []
    for draw in range(flags.draws):
        only: dict[str, Any] = {"controls": [], "metrics": ["recovery", "AUC"], "seeds": [draw]}
        made = bench(suite="text", out=Path(flags.out) / str(draw), reporter=Lines(), **only)
        rows += [row for row in made.rows if row["status"] == "ok"]
    print(f"Command: `python benchmarks/text.py --draws {flags.draws} --out {flags.out}`\n")
    recovery(rows)
    contrast()


def recovery(rows: Sequence[ResultRow]) -> None:
    """Precision@5 and AUC of every arm beside chance, and RLPO's differences from the others."""
    print("## Recovery of the words that the classifier uses\n")
    print("| arm | precision@5 | chance | minus chance | AUC |\n|---|---|---|---|---|")
    for label in (OWN, *OTHERS):
        value, chance = cases(rows, label, "value"), cases(rows, label, "chance")
        gain = {k: value[k] - chance[k] for k in value}
        figures = (value, chance, gain, cases(rows, label, "auc"))
        print(f"| {label} | {' | '.join(shown(over_draws(figure)) for figure in figures)} |")
    print("\n| difference | precision@5 | AUC |\n|---|---|---|")
    for other in OTHERS:
        gaps = []
        for what in ("value", "auc"):
            own, theirs = cases(rows, OWN, what), cases(rows, other, what)
            gaps.append(shown_difference(over_draws(minus(own, theirs))))
        print(f"| {OWN} - {other} | {' | '.join(gaps)} |")
    print()


def contrast(words: int = 60, n: int = 10) -> None:
    """What random words are drawn from decides what a CAV says: AUC of the TCAV effect against the truth, untuned."""
    from xcore_tcav.scorer import Scorer

    registry = load_registry()
    data, classifier = registry.create("dataset", Ref("reviews")), registry.create("classifier", Ref("reviews/textcnn"))
    generator, truth = registry.create("generator", Ref("reviews/mistral")), data.truth("reviews/textcnn")
    world = tuple(w for w in data.vocabulary if w in truth.phrases)
    print("## What random words are drawn from\n")
    print(f"| words | class | AUC of the effect of {words} words | AUC of TS |\n|---|---|---|---|")
    for name, vocabulary in (("of the reviews alone", world), ("of the reviews and of English", data.vocabulary)):
        for target, cls in enumerate(data.classes):
            samples = data.samples(cls, "explain", 60, 0)
            said = [w for w in content_words(samples.texts) if w in truth.phrases]
            chosen = np.random.default_rng(0).choice(said, words, replace=False).tolist()
            drawn = generator.generate([w for w in chosen for _ in range(n)], [*range(n)] * words)
            random = RandomSets(data, cls, "train", seed=0, generator=generator, vocabulary=vocabulary)
            scorer = Scorer(classifier.open("pooled"), target, samples, random, folds=0)
            sets: list[Samples] = [drawn.take(range(i * n, (i + 1) * n)).filled() for i in range(words)]
            scores = scorer.score_many(sets, f"generated:{generator.fingerprint}")
            used = [bool(truth.phrases[w] & truth.used(cls)) for w in chosen]
            effect, ts = (roc_auc_score(used, [getattr(s, what) for s in scores]) for what in ("effect", "ts"))
            print(f"| {name} | {cls} | {effect:.2f} | {ts:.2f} |")
    print()


def over_draws(values: Cases) -> dict[tuple[str, int], float]:
    """Cases whose "classes" are the draws, so that intervals are over these."""
    return {(f"draw {draw}", 0 if c == "negative" else 1): v for (c, draw), v in values.items()}


if __name__ == "__main__":
    main()
