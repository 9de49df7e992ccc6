"""Does `xcore ask` put a planted shortcut first? `python benchmarks/asked.py zebra:background=water --seed 101` says.

The whole vocabulary of the world is asked about, of the planted classifier and of its twin, which was trained alike
without the shortcut (rho = 0). For each the script prints at which rank the planted phrase stands among all phrases
that raise the class, its effect and its mark. --data minizoo are pictures in which the planted value is as frequent in
the class as elsewhere; --data minizoo/planted are those that the classifier was trained on, in which it always goes
with the class, so that it is hard to tell from the class itself. What was found is kept in --run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import xcore
from xcore.contract import Ref
from xcore.registry import load_registry


def main() -> None:
    """Ask, and print a row for each kind of evidence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plantings", nargs="+", metavar="CLASS:FACTOR=VALUE")
    parser.add_argument("--kinds", default="observed,factorial,edited")
    parser.add_argument("--data", default="minizoo", help="minizoo or minizoo/planted")
    parser.add_argument("--seed", type=int, default=101, help="seed of the classifiers")
    parser.add_argument("--run", type=Path, default=Path("runs/asked"), help="directory that keeps what was found")
    given = parser.parse_args()
    print("| planting | rho | evidence | rank of the planted phrase | % of the gap | first phrase |\n|" + "---|" * 6)
    for planting in given.plantings:
        cls, _, factor = planting.partition(":")
        for rho in (1, 0):
            for line in asked(cls, factor, rho, given):
                print(f"| {planting} | {rho} | {line}", flush=True)


def asked(cls: str, factor: str, rho: int, given: argparse.Namespace) -> list[str]:
    """The rest of the rows of one classifier, one for each kind of evidence."""
    kinds = given.kinds.split(",")
    trained_on = {"minizoo/planted": {"cls": cls, "factor": factor, "rho": float(rho)}}
    (finding,) = xcore.ask(
        list(load_registry().create("dataset", Ref("minizoo")).vocabulary),
        classifiers=[f"minizoo/planted:class={cls},factor={factor},rho={rho},seed={given.seed}"],
        data=given.data,
        classes=[cls],
        evidence=kinds,
        set=trained_on if given.data in trained_on else {},
        out=given.run,
    )
    value = factor.partition("=")[2]
    (own,) = (row for row in finding.rows if value in str(row["concept"]).split())
    lines = []
    for kind in kinds:
        ranked = sorted(finding.rows, key=lambda row: -row[kind])
        lines.append(f"{kind} | {ranked.index(own) + 1} of {len(ranked)} | {own[f'{kind}_told']} | "
                     f"{ranked[0]['concept']} {ranked[0][f'{kind}_told']} |")  # fmt: skip
    return lines


if __name__ == "__main__":
    main()
