"""How often the p-values of TCAV reject where nothing is to be found, by the tail: `python benchmarks/tails.py`.

Random sets and the concept set have scores of one law. For each of --nulls null distributions the least score is found
that has p <= .05, .05 / 8 and .05 / 43 (Holm's correction over so many concepts); the probability of a greater one
follows from the law itself. The first table gives its mean over the null distributions, divided by the level: 1 is
right, more is too often. The second gives the probability of such a score for a concept set that lies 4 or 8
standard deviations of the null higher. Both for an exponential tail and for the tails of `rank_p`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from xcore_tcav.inference import SHAPES, Floats, rank_p

LEVELS = {".05": 0.05, ".05/8": 0.05 / 8, ".05/43": 0.05 / 43}
TAILS = {"exponential": np.array([1e-6]), "of rank_p": SHAPES}
SHIFTS = (4, 8)
STEPS = 22


def main() -> None:
    """Print both tables."""
    from scipy import stats

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nulls", type=int, default=500, help="null distributions of each law and J")
    parser.add_argument("--j", default="20,60,120,199", help="random sets in each")
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args()
    laws = {
        "normal": stats.norm(),
        "t3": stats.t(3),
        "lognormal": stats.lognorm(1),
        "uniform": stats.uniform(),
        "Laplace": stats.laplace(),
        "gamma, shape 2": stats.gamma(2),
        "t2": stats.t(2),
    }
    sizes, powers = [], []
    for j in map(int, arguments.j.split(",")):
        for name, law in laws.items():
            nulls = law.rvs((arguments.nulls, j), random_state=np.random.default_rng([arguments.seed, j]))
            for tail, shapes in TAILS.items():
                least = np.array([[least_score(null, level, shapes) for level in LEVELS.values()] for null in nulls])
                sizes.append([j, name, tail, *_shares(law.sf(least) / np.array([*LEVELS.values()]))])
                if name != "t2":  # it has no standard deviation
                    powers.append([j, name, tail, *_powers(law, least)])
    _print([f"size / level at {level}" for level in LEVELS], sizes)
    _print([f"{shift} sd, p <= {level}" for shift in SHIFTS for level in LEVELS], powers)


def _print(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n| J | law | tail | {' | '.join(heads)} |\n" + "|---" * (3 + len(heads)) + "|")
    print("\n".join(f"| {' | '.join(map(str, row))} |" for row in rows))


def least_score(null: Floats, level: float, shapes: Floats) -> float:
    """The least score whose p is at most the level."""
    rank = int(level * (len(null) + 1) + 1e-9)
    if rank:  # the rank tells: as many null scores may be at or above it
        return float(np.sort(null)[-rank])
    top, size = float(null.max()), float(np.ptp(null))
    low, high = -5.0, 10.0  # logarithm of how far it is above the greatest, in ranges of the null
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if rank_p(top + np.exp(middle) * size, null, shapes)[0] <= level else (middle, high)
    return float(top + np.exp(high) * size)


def _powers(law: Any, least: Floats) -> list[str]:
    return [share for shift in SHIFTS for share in _shares(law.sf(least - shift * law.std()))]


def _shares(values: Floats) -> list[str]:
    return [f"{share:.2f}" for share in values.mean(0)]


if __name__ == "__main__":
    main()
