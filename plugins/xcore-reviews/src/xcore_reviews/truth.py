"""The truth table: which words a classifier uses, found by swapping one word of a review and leaving the rest.

For a class and a base review every word that fits a slot is put there in turn. The effect of a word is the class logit
with it minus the mean over the other words that fit, averaged over all slots of all base reviews.

`python -m xcore_reviews.truth DIR` computes the table of the classifier in DIR (a TextCNN or one of transformers).
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

from xcore.errors import UsageError
from xcore.samples import Samples
from xcore_reviews.data import CLASSES, written
from xcore_reviews.grammar import Slot

SHARE = 0.1
Logits = Callable[[Sequence[str]], Tensor]


def truth_table(logits: Logits, reviews: int = 300, seed: int = 0) -> dict[str, Any]:
    """The table of a classifier of the two classes, as plain data.

    Parameters
    ----------
    logits
        Texts to (n, 2) logits, negative and positive.
    reviews
        Held-out base reviews a class.

    Returns
    -------
    dict
        ``effects[class]["word=..."] = [mean, low, high]`` (95 % interval over slots; words that fit one slot only are
        left out), ``gaps[class]`` (mean logit gap to the other class), ``share``, ``reviews`` and ``seed``.
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
            f"the classifier in {str(directory)!r} tells {', '.join(classifier.classes)} apart, "
            f"the reviews are {', '.join(CLASSES)}"
        )

    def logits(texts: Sequence[str]) -> Tensor:
        return classifier.logits(Samples("text", tuple(texts), tuple(map(str, range(len(texts))))))

    return truth_table(logits, reviews)


def main() -> None:
    """Compute the table of a classifier and write it beside its weights."""
    parser = argparse.ArgumentParser(prog="python -m xcore_reviews.truth", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--reviews", type=int, default=300)
    args = parser.parse_args()
    table = table_of(args.directory, args.reviews)
    (args.directory / "truth.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    for cls, gap in table["gaps"].items():
        used = [v for v, (e, _, _) in table["effects"][cls].items() if e >= SHARE * gap]
        print(f"{cls}: gap {gap:.2f}; uses {len(used)} words: {', '.join(used)}")


if __name__ == "__main__":
    main()
