"""How often the rule of `xcore compare`, and Student's t over classes alone, call simulated runs different.

``python benchmarks/compare_rule.py``. Both runs have nine classes and seeds of their own, and differ in nothing else. A
value is what its class has, what its seed changes in all classes, and noise of standard deviation 1.
"""

from __future__ import annotations

from statistics import fmean

import numpy as np

from xcore.report.comparison.design import Values, change
from xcore.report.comparison.statistics import class_part, judged

CLASSES = 9
REPEATS = 1000


def main() -> None:
    """Print the share of pairs that each rule calls different at .05."""
    rng = np.random.default_rng(0)
    print("| seeds | a seed changes in all classes | t over classes alone | the rule of compare |")
    print("|--:|--:|--:|--:|")
    for seeds in (2, 3):
        for common in (0.0, 1.0, 5.0):
            alone = ours = 0
            for _ in range(REPEATS):
                a, b = (run(rng, seeds, common, first) for first in (0, seeds))
                ours += (change(a, b).estimate.p or 0.0) <= 0.05
                gaps = [mean(b, cls) - mean(a, cls) for cls in range(CLASSES)]
                alone += (judged(fmean(gaps), [class_part(gaps)], CLASSES, 9.0, "").p or 0.0) <= 0.05
            print(f"| {seeds} | {common:g} | {alone / REPEATS:.3f} | {ours / REPEATS:.3f} |")


def run(rng: np.random.Generator, seeds: int, common: float, first: int) -> Values:
    """One run."""
    shifts = common * rng.normal(size=seeds)
    noise = rng.normal(size=(CLASSES, seeds))
    cases = [(cls, seed) for cls in range(CLASSES) for seed in range(seeds)]
    of = {(str(cls), first + seed): float(cls + shifts[seed] + noise[cls, seed]) for cls, seed in cases}
    return Values(of, {case: case[1] for case in of})


def mean(values: Values, cls: int) -> float:
    """Of one class."""
    return fmean(value for (name, _), value in values.of.items() if name == str(cls))


if __name__ == "__main__":
    main()
