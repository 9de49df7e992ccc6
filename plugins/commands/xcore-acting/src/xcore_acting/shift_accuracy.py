"""Accuracy of two classifiers on the same samples: of all, of each class and of each group, with paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from xcore.contract import Classifier, Dataset, Samples, UsageError


@dataclass(frozen=True)
class Paired:
    """How many of the same n samples two classifiers get right."""

    n: int
    before: float
    """Share that A gets right."""
    after: float
    """Share that B gets right."""
    lo: float
    """95 % interval of the difference (Agresti and Min)."""
    hi: float
    p: float
    """Exact two-sided McNemar test."""

    @property
    def difference(self) -> float:
        """B less A."""
        return self.after - self.before

    @property
    def said(self) -> str:
        """Both accuracies and their difference, in words."""
        interval = f"[{self.lo:+.2f}, {self.hi:+.2f}]"
        return f"{self.before:.2f} by A and {self.after:.2f} by B, difference {self.difference:+.2f} {interval}"


def paired(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Compare which of the same samples are right.

    The interval adds half an observation to each of the four counts, so that it has a width where both agree, too.

    References
    ----------
    Agresti and Min, Effects and non-effects of paired identical observations in comparing proportions with binary
    matched-pairs data, Statistics in Medicine 2004; McNemar, Psychometrika 1947.
    """
    from scipy.stats import binomtest

    n = len(before)
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    b, c, total = gained + 0.5, lost + 0.5, n + 2
    middle, half = (b - c) / total, 1.96 * sqrt((b + c) - (b - c) ** 2 / total) / total
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Paired(n, sum(before) / n, sum(after) / n, max(-1.0, middle - half), min(1.0, middle + half), p)


def held_out(data: Dataset, classes: Sequence[str], n: int, seed: int) -> Samples | None:
    """Up to n held-out samples of each class that the classifier knows, with ``meta["class"]`` and the data's groups.

    None if the data hold out none.
    """
    parts, names, groups = list[Samples](), list[str](), list[str]()
    for cls in [c for c in data.classes if c in classes]:
        try:
            part = data.samples(cls, "heldout", n, seed)
        except UsageError:  # a data set refuses a split in which the class has nothing
            continue
        if not len(part):
            continue
        parts.append(part)
        names += [cls] * len(part)
        groups += [str(g) for g in part.meta.get("group", ("",) * len(part))]
    if not parts:
        return None
    joined = Samples.concat(parts)
    return Samples(joined.modality, joined.data, joined.ids, None, {"class": tuple(names), "group": tuple(groups)})


def right(classifier: Classifier, samples: Samples) -> Tensor:
    """(n,) bool: whether the largest logit is that of the sample's class."""
    wanted = torch.tensor([classifier.classes.index(name) for name in samples.meta["class"]])
    return classifier.logits(samples).argmax(1) == wanted


def accuracies(a: Classifier, b: Classifier, samples: Samples) -> dict[tuple[str, str], Paired]:
    """Accuracy of both: ("all", ""), ("class", NAME) and, where there are groups, ("group", NAME)."""
    before, after = (right(c, samples).tolist() for c in (a, b))
    parts: dict[tuple[str, str], list[int]] = {("all", "all samples"): list(range(len(samples)))}
    for kind in ("class", "group"):
        for i, name in enumerate(samples.meta[kind]):
            if name:
                parts.setdefault((kind, name), []).append(i)
    return {key: paired([before[i] for i in rows], [after[i] for i in rows]) for key, rows in parts.items()}


def plain(found: Mapping[tuple[str, str], Paired]) -> list[dict[str, object]]:
    """The accuracies as plain data."""
    return [
        {"of": kind, "name": name, **vars(part), "difference": part.difference} for (kind, name), part in found.items()
    ]
