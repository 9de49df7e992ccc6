"""The table of cures: accuracies as means over seeds, and differences that are paired by the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from xcore.session import Column
from xcore_texplain.repair_options import CONTROLS, CURES, TITLES

PAIRED = (("erm", "worst"), ("random", "worst"), ("erm", "average"))
"""Cure that is compared with, and the accuracy of which the difference is taken."""


def paired(values: Sequence[float]) -> tuple[float, float | None, float | None, float | None]:
    """Mean, the ends of its 95 % t interval, and the two-sided p of its being 0.

    With fewer than two values, or values that are all the same, there is no spread to judge by: the others are None.
    """
    x = np.asarray(values, dtype=float)
    mean, n = float(x.mean()), len(x)
    if n < 2:
        return mean, None, None, None
    error = float(x.std(ddof=1)) / n**0.5
    if error < 1e-12:
        return mean, None, None, None
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, n - 1))


def table(
    seeds: Sequence[Mapping[str, Mapping[str, float]]],
    groups: Sequence[str],
    cures: Sequence[str],
    reasons: Mapping[str, str],
) -> tuple[tuple[Column, ...], tuple[dict[str, Any], ...]]:
    """Columns and rows of the table; accuracies are percentages.

    Parameters
    ----------
    seeds
        For each seed: cure -> accuracies in [0, 1] of the groups, "worst" and "average".
    cures
        The cures in the order of the rows; the start comes first whether it is asked for or not.
    reasons
        Cure -> why it could not be tried.
    """
    from xcore_evidence.statistics import holm

    rows: list[dict[str, Any]] = []
    for cure in dict.fromkeys(["erm", *cures]):
        row: dict[str, Any] = {"cure": TITLES[cure], "uses": CURES[cure]}
        found = [seed[cure] for seed in seeds if cure in seed]
        if not found:
            rows.append({**row, "uses": f"not tried: {reasons.get(cure, 'it is not possible here')}"})
            continue
        for name in (*groups, "worst", "average"):
            values = [100 * one[name] for one in found if name in one]
            row[name] = float(np.mean(values)) if values else None
            row[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        for other, what in PAIRED:
            start, control = f"{what}_over_{other}", CONTROLS.get(cure, other) if other == "random" else other
            pairs = [100 * (s[cure][what] - s[control][what]) for s in seeds if cure in s and control in s]
            if cure == control or not pairs:
                continue
            mean, low, high, p = paired(pairs)
            shown = f"{mean:+.1f}" + ("" if low is None or high is None else f" [{low:+.1f}, {high:+.1f}]")
            row |= {start: mean, f"{start}_lo": low, f"{start}_hi": high, f"{start}_p": p, f"{start}_shown": shown}
        rows.append({**row, "n": len(found)})
    tested = [row for row in rows if row.get("worst_over_erm_p") is not None]
    for row, p in zip(tested, holm([row["worst_over_erm_p"] for row in tested]), strict=True):
        row["worst_over_erm_holm"] = p
    return _columns(groups), tuple(rows)


def _columns(groups: Sequence[str]) -> tuple[Column, ...]:
    made = [Column("cure", "cure", ""), Column("uses", "uses", "what it is told beside the images of the classes")]
    for i, name in enumerate((*groups, "worst", "average")):
        says = {
            "worst": "the least of these in each seed, and then their mean",
            "average": "of all test images",
        }.get(name, "mean accuracy over the seeds on the test images of the group, in %" if i == 0 else "")
        made.append(Column(name, name, says, 1))
        made.append(Column(f"{name}_sd", "±", "standard deviation over the seeds (n - 1)" if i == 0 else "", 1))
    for other, what in PAIRED:
        start, against = f"{what}_over_{other}", {"erm": "ERM", "random": "Random"}[other]
        says = "mean difference over seeds that share their start, in percentage points, with its 95 % t interval"
        if other == "random":
            says = "TExplain by the map of the class: less Random by this map; all others: by the map of the word"
        made.append(Column(f"{start}_shown", f"{what} − {against}", says if what == "worst" else ""))
        made += [
            Column(start, f"{what} less {against}", "", shown=False),
            Column(f"{start}_lo", "from", "", shown=False),
            Column(f"{start}_hi", "to", "", shown=False),
            Column(f"{start}_p", "p", "two-sided paired t test", 3, shown=False),
        ]
    made.append(Column("worst_over_erm_holm", "p (Holm)", "of worst − ERM, two-sided t test, all cures together", 3))
    made.append(Column("n", "seeds", ""))
    return tuple(made)
