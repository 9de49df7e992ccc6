"""How often TS marks what the classifier uses, and what it does not: `python benchmarks/power.py runs/minizoo`.

Concepts are those of `tcav`: pictures that come with the data, named by phrases. One is *used* if the classifier uses
every factor value that its phrase names, used in part if it uses some of them, and otherwise names nothing used (the
truth table of the world, found by intervention). Each seed draws its own pictures of concepts and classes; all count.
The rows of the controls say how often pictures that explain nothing are marked. Shares are means over classes, with
intervals over these: concepts of one class share its pictures and its random sets (see `intervals.shown_share`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from intervals import shown_share
from paired import by_classifier

from xcore.api import load_registry, report
from xcore.contract import Ref
from xcore.report.rows import ResultRow
from xcore.report.table import MARK

KINDS = ("used", "used in part", "names nothing used")


def main(run: str) -> None:
    """Print the shares of concepts of each kind that are marked."""
    print(f"Command: `python benchmarks/power.py {run}`")
    for classifier, rows in by_classifier(report(run).rows).items():
        print(f"\n# {classifier}\n")
        show(rows)


def show(rows: Sequence[ResultRow]) -> None:
    """The table of one classifier."""
    registry = load_registry()
    found: dict[str, dict[str, list[tuple[bool, bool, bool, bool]]]] = {}
    for row in rows:
        score = row["scores"].get("TS", {})
        if score.get("value") is None:
            continue
        details = score["details"]
        kind = row["label"]
        if kind == "tcav":
            truth = registry.create("dataset", Ref(row["data"])).truth(row["classifier"])
            assert truth is not None
            named, used = truth.phrases[row["concept"]], truth.used(row["class"])
            kind = KINDS[0 if named and named <= used else 1 if named & used else 2]
        mark = details[MARK]
        marks = (mark > 0, mark < 0, details["p"] <= 0.05, details["p_against"] <= 0.05)
        found.setdefault(kind, {}).setdefault(row["class"], []).append(marks)
    print("| concepts | marked: raises | marked: lowers | p <= .05 | p_against <= .05 |\n|---|---|---|---|---|")
    for kind in (*(k for k in KINDS if k in found), *(k for k in found if k not in KINDS)):
        counts = [{c: (sum(m[i] for m in marks), len(marks)) for c, marks in found[kind].items()} for i in range(4)]
        print(f"| {kind} | {' | '.join(map(shown_share, counts))} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/minizoo")
