"""Figures of a run paired by class and seed, with intervals that resample classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from xcore.report.rows import ResultRow

Cases = Mapping[tuple[str, int], float]
"""(class, seed) -> value."""

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
    gaps = {k: ours[k] - theirs[k] for k in sorted(ours.keys() & theirs.keys())}
    classes = sorted({c for c, _ in gaps})
    means = [np.mean([v for (c, _), v in gaps.items() if c == name]) for name in classes]
    held = sum(float(m) * sign > 0 for m in means)
    return f"{shown(gaps)} | {held} of {len(classes)}" if gaps else "n/a | n/a"


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


def shown(values: Cases) -> str:
    """Mean and interval of a figure over classes and seeds."""
    if not values:
        return "n/a"
    low, high = interval(values)
    return f"{np.mean(list(values.values())):.2f} [{low:.2f}, {high:.2f}]"


def interval(values: Cases, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean, resampling classes."""
    classes = sorted({c for c, _ in values})
    sums = np.array([sum(v for (c, _), v in values.items() if c == name) for name in classes])
    counts = np.array([sum(c == name for c, _ in values) for name in classes])
    drawn = np.random.default_rng(0).integers(len(classes), size=(resamples, len(classes)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
