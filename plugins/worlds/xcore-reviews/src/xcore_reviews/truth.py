"""The truth table: which words a classifier uses, found by swapping one word of a review at a time.

For a class and a base review each word that fits into a slot is put there in turn. The effect of a word is the class
logit with it minus the mean over the other words that fit, averaged over all slots of all base reviews.

`python -m xcore_reviews.truth FOLDER` measures the table of the classifier in a folder (a TextCNN, or a sequence
classifier of transformers).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xcore.contract import Samples, UsageError
from xcore_reviews.data import CLASSES, written
from xcore_reviews.grammar import Slot

SHARE = 0.1
"""A word is used if its effect is at least this share of the logit gap to the other class."""
Logits = Callable[[Sequence[str]], Tensor]


def truth_table(logits: Logits, reviews: int = 300, seed: int = 0) -> dict[str, Any]:
    """The table of a classifier of the two classes, as plain data.

    Parameters
    ----------
    logits
        n texts -> logits (n, 2) of negative and positive.
    reviews
        Number of base reviews of each class, from the held-out split.
    seed
        Seed of the base reviews.

    Returns
    -------
    dict
        ``effects[class]["word=..."] = [mean, low, high]`` (95 % interval over slots; a word that was put into one slot
        only is left out), ``gaps[class]`` (mean logit gap to the other class), ``share``, ``reviews`` and ``seed``.
    """
    effects: dict[str, dict[str, list[float]]] = {}
    gaps: dict[str, float] = {}
    for target, (cls, sign) in enumerate(CLASSES.items()):
        found: dict[str, list[float]] = defaultdict(list)
        base = [written(sign, "heldout", i, seed) for i in range(reviews)]
        scores = logits([str(r) for r in base]).numpy()
        gaps[cls] = round(float((scores[:, target] - scores[:, 1 - target]).mean()), 4)
        for made in base:
            for position in made.slots:
                slot = made.parts[position]
                assert isinstance(slot, Slot)
                column = logits([str(made.swapped(position, w)) for w in slot.fillers]).numpy()[:, target]
                others = (column.sum() - column) / (len(column) - 1)
                for word, effect in zip(slot.fillers, column - others, strict=True):
                    found[word].append(float(effect))
        effects[cls] = {f"word={w}": _interval(e) for w, e in sorted(found.items()) if len(e) > 1}
    return {"effects": effects, "gaps": gaps, "share": SHARE, "reviews": reviews, "seed": seed}


def _interval(values: list[float]) -> list[float]:
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return [round(v, 4) for v in (mean, mean - half, mean + half)]


def table_of(directory: Path, reviews: int = 300) -> dict[str, Any]:
    """The table of the classifier in a directory: a TextCNN, or a sequence classifier of transformers.

    Raises
    ------
    UsageError
        If its classes are not those of the reviews, in this order.
    """
    from xcore_text.classifiers import HuggingFaceClassifier, TextCNNClassifier
    from xcore_text.options import TextOptions

    ours = (directory / "vocabulary.json").is_file()
    classifier = (TextCNNClassifier if ours else HuggingFaceClassifier)(TextOptions(), str(directory))
    if classifier.classes != tuple(CLASSES):
        raise UsageError(
            f"the classifier in {str(directory)!r} has the classes {', '.join(classifier.classes)}; "
            f"the reviews have the classes {', '.join(CLASSES)}",
            "name a classifier of these classes, in this order",
        )

    def logits(texts: Sequence[str]) -> Tensor:
        return classifier.logits(Samples("text", tuple(texts), tuple(map(str, range(len(texts))))))

    return truth_table(logits, reviews)


def main() -> None:
    """Measure the truth table of a classifier, write it beside its weights, and print which words it uses."""
    parser = argparse.ArgumentParser(prog="python -m xcore_reviews.truth", description=main.__doc__)
    parser.add_argument("directory", type=Path, metavar="FOLDER", help="folder of the classifier")
    parser.add_argument("--reviews", type=int, default=300, help="number of base reviews of each class")
    args = parser.parse_args()
    table = table_of(args.directory, args.reviews)
    (args.directory / "truth.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    for cls, gap in table["gaps"].items():
        used = [v for v, (e, _, _) in table["effects"][cls].items() if e >= SHARE * gap]
        print(f"{cls}: gap {gap:.2f}; uses {len(used)} words: {', '.join(used)}")


if __name__ == "__main__":
    main()
