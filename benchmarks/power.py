"""How often TS marks what the classifier uses, and what it does not: `python benchmarks/power.py runs/minizoo`.

Concepts are those of `tcav`: pictures that come with the data. One is used if the classifier uses every factor value
that it names. Data-set concepts do not depend on the seed, so only seed 0 is read.
"""

from __future__ import annotations

import sys

import numpy as np

from xcore.api import report
from xcore.report.table import OUTSIDE


def main(run: str) -> None:
    """Print the shares of used and unused concepts that are outside their null."""
    found: dict[bool, list[tuple[bool, bool]]] = {True: [], False: []}
    for row in report(run).rows:
        score, named = row["scores"].get("TS", {}), row["scores"].get("recovery", {})
        if (
            row["label"] == "tcav"
            and row["seed"] == 0
            and score.get("value") is not None
            and named.get("value") is not None
        ):
            details = score["details"]
            found[bool(named["value"])].append((bool(details[OUTSIDE]), details["p"] <= 0.05))
    print(f"Command: `python benchmarks/power.py {run}`\n")
    print("| concepts | outside their null (Holm) | p <= .05, not corrected | concepts x classes |\n|---|---|---|---|")
    for used, marks in found.items():
        holm, single = np.mean(marks, axis=0)
        print(f"| {'used' if used else 'not used'} | {holm:.2f} | {single:.2f} | {len(marks)} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/minizoo")
