"""Figures of a run paired by class and seed; `intervals` says how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from intervals import Cases, class_means, shown_difference

from xcore.report.rows import ResultRow

Score = Mapping[str, Any]
"""One score as `xcore bench --json` prints it."""

PAPER = {"CS": -1, "ED": 1, "RCS": -1, "RED": 1}
"""Sign of RLPO minus another method that the paper reports."""


def paper_order(rows: Sequence[ResultRow], ours: str, others: Sequence[str]) -> None:
    """Whether a method's concepts are further from the class images than those of others, as the paper has it."""
    print(f"## The paper's order: {ours} minus the others, mean of the first three concepts\n")
    print("| metric | expected | " + " | ".join(f"minus {o} | classes in which it holds" for o in others) + " |")
    print("|---|---|" + "---|---|" * len(others))
    for metric, sign in PAPER.items():
        cells = [gap(top_three(rows, ours, metric), top_three(rows, other, metric), sign) for other in others]
        print(f"| {metric} | {'+' if sign > 0 else '-'} | " + " | ".join(cells) + " |")
    print()


def gap(ours: Cases, theirs: Cases, sign: int) -> str:
    """Mean difference with its interval, and in how many classes its mean has the expected sign."""
    gaps = minus(ours, theirs)
    means = class_means(gaps).values()
    held = sum(m * sign > 0 for m in means)
    return f"{shown_difference(gaps)} | {held} of {len(means)}" if gaps else "n/a | n/a"


def minus(ours: Cases, theirs: Cases) -> dict[tuple[str, int], float]:
    """Differences of the classes and seeds that both have."""
    return {k: ours[k] - theirs[k] for k in sorted(ours.keys() & theirs.keys())}


def by_classifier(rows: Iterable[ResultRow]) -> dict[str, list[ResultRow]]:
    """Classifier -> its rows: classes of several classifiers are no sample of one population."""
    found: dict[str, list[ResultRow]] = {}
    for row in rows:
        found.setdefault(row["classifier"], []).append(row)
    return found


def top_three(
    rows: Sequence[ResultRow], label: str, metric: str, read: Callable[[Score], float | None] = itemgetter("value")
) -> dict[tuple[str, int], float]:
    """Mean of a metric (or of what `read` finds in its scores) over the first three concepts of every (class, seed)."""
    values: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        score = row["scores"].get(metric)
        mine = row["label"] == label and row["rank"] and row["rank"] <= 3 and score and score["value"] is not None
        if mine and (value := read(score)) is not None:
            values.setdefault((row["class"], row["seed"]), []).append(float(value))
    return {k: float(np.mean(v)) for k, v in values.items()}
