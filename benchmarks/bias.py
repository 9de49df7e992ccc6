"""Does `xcore ask` find a protected attribute that was planted, and none in balanced twins?

    python benchmarks/bias.py                                            # about 4 minutes to train each of ten networks
    python benchmarks/bias.py --kinds observed,factorial,edited
    python benchmarks/bias.py --plantings horse:apple --seed 101 --rho 1 --no-twins

In the data of a planting an object, the protected attribute, lies in 80 % of the pictures of one class and in 20 % of
those of all others (`minizoo/planted` with rho = 0.75); in those of its twin, in 20 % of all. Both classifiers are
trained in the same way, with a seed that no other benchmark uses. Each is asked, with the pictures that it was trained
on, about the object and another one that is in no picture:

    xcore ask --class CLASS --concept OBJECT --pair OBJECT,OTHER ...

A planting is found if the object raises the class by the mark (Holm) and the pair differs in this direction; a twin is
clean if neither is so. Both are decided by the first of --kinds, the others are shown beside it. What was found is kept
in --run, so that the script can be stopped and goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xcore

PLANTINGS = ("tiger:apple", "leopard:rock", "cow:apple", "panther:rock", "clownfish:apple")
"""Class and object; no suite, no other benchmark and no development used these."""
SEED, RHO = 303, 0.75
NAMED = {"apple": "an apple", "rock": "a rock"}
"""Object -> the phrase that is asked about."""


@dataclass(frozen=True)
class Judged:
    """What one kind of evidence says of one classifier."""

    cls: str
    planted: str
    rho: float
    kind: str
    concept: Mapping[str, Any]
    pair: Mapping[str, Any]

    @property
    def found(self) -> bool:
        """Whether the object raises the class, and more than the other object."""
        raises = self.concept.get(f"{self.kind}_mark") == 1
        return raises and self.pair.get(f"{self.kind}_mark") == 1 and self.pair[self.kind] > 0

    def line(self) -> str:
        """A row of the table."""
        cells = [self.cls, self.planted, f"{self.rho:g}", self.kind]
        cells += [str(row.get(f"{self.kind}_told", "n/a")) for row in (self.concept, self.pair)]
        return f"| {' | '.join([*cells, 'yes' if self.found else 'no'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plantings", default=",".join(PLANTINGS), help="CLASS:OBJECT, comma-separated")
    parser.add_argument("--kinds", default="observed", help="some of observed, factorial, edited; the first decides")
    parser.add_argument("--rho", type=float, default=RHO, help="strength of the plantings")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the classifiers")
    parser.add_argument("--no-twins", action="store_true", help="leave the balanced twins out")
    parser.add_argument("--run", type=Path, default=Path("runs/bias"), help="directory that keeps what was found")
    given = parser.parse_args()
    kinds = tuple(given.kinds.split(","))
    rows = [
        judged
        for planting in given.plantings.split(",")
        for rho in (given.rho, 0.0)[: 1 if given.no_twins else 2]
        for judged in asked(planting, rho, given.seed, kinds, given.run)
    ]
    print("| Class | Object | rho | Evidence | Object, % of the gap | Less the other object | Found |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(row.line() for row in rows))
    for what, some in (("plantings", [r for r in rows if r.rho > 0]), ("twins", [r for r in rows if r.rho == 0])):
        first = [r for r in some if r.kind == kinds[0]]
        if first:
            print(f"\n{sum(r.found for r in first)} of {len(first)} {what} found by {kinds[0]} evidence")


def asked(planting: str, rho: float, seed: int, kinds: tuple[str, ...], run: Path) -> list[Judged]:
    """What each kind of evidence says of the object of a planting (CLASS:OBJECT), and of the pair."""
    cls, planted = planting.split(":")
    factor = f"object={planted}"
    own, other = NAMED[planted], next(phrase for name, phrase in NAMED.items() if name != planted)
    finding = xcore.ask(
        [own],
        pairs=[(own, other)],
        classifiers=[f"minizoo/planted:class={cls},factor={factor},rho={rho:g},seed={seed}"],
        data="minizoo/planted",
        classes=[cls],
        evidence=kinds,
        set={"minizoo/planted": {"cls": cls, "factor": factor, "rho": rho}},
        out=run,
    )[0]
    of = {row["concept"]: row for row in finding.rows}
    return [Judged(cls, planted, rho, kind, of[own], of[f"{own} - {other}"]) for kind in kinds]


if __name__ == "__main__":
    main()
