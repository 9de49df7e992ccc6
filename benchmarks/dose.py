"""Do doses of pictures tell what a network uses? `python benchmarks/dose.py horse --classifier minizoo/vit` says.

    python benchmarks/dose.py horse:background=sky --seed 202     # classifiers with a planted shortcut

Of each class four phrases are asked about that name one value of one factor each: the two that the classifier uses most
(of a classifier with a planted shortcut, the planted one and the most used other one), and the two that change the
class logit least when they are swapped away, by less than 10 % of the gap. Pictures are those of `minizoo`, in which a
planted value is no more frequent in the class than elsewhere:

    xcore ask --class CLASS --concept PHRASE ... --evidence observed --dose --dosed N

A used phrase is right if its curve rises (Holm, and a monotone curve fits); an unused one if the whole band is within
± 10 % of the gap. What was found is kept in --run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from evidence import truth_of
from xcore_evidence.statistics import wilson

import xcore
from xcore.contract import Ref, Truth
from xcore.registry import load_registry


def main() -> None:
    """Ask, print a row for each phrase, and how many are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", nargs="+", metavar="CLASS[:FACTOR=VALUE]")
    parser.add_argument("--classifier", default="minizoo/vit", help="of classes without a planted value")
    parser.add_argument("--seed", type=int, default=101, help="seed of the planted classifiers")
    parser.add_argument("--dosed", type=int, default=None, help="pictures; otherwise as many as is usual")
    parser.add_argument("--run", type=Path, default=Path("runs/dose"), help="directory that keeps what was found")
    given = parser.parse_args()
    print("| class | phrase | used, % of the gap | slope | band | verdict | right |\n" + "|---" * 7 + "|")
    minizoo = load_registry().create("dataset", Ref("minizoo"))
    right: dict[bool, list[bool]] = {True: [], False: []}
    for asked in given.classes:
        cls, _, factor = asked.partition(":")
        planted = f"minizoo/planted:class={cls},factor={factor},rho=1,seed={given.seed}"
        classifier = planted if factor else given.classifier
        phrases = _phrases(truth_of(minizoo, classifier), cls, factor)
        start = time.perf_counter()
        rows = _answers(classifier, cls, list(phrases), given)
        for row in rows:
            effect, used = phrases[row["concept"]]
            ok = row["verdict"].startswith("rises") if used else "within ±10%" in row["verdict"]
            right[used].append(ok)
            print(
                f"| {asked} | {row['concept']} | {100 * effect:.0f} | {row['slope']:+.3f} [{row['slope_lo']:+.3f}, "
                f"{row['slope_hi']:+.3f}] | {row['band_lo']:+.2f} to {row['band_hi']:+.2f} | {row['verdict']} | "
                f"{'yes' if ok else 'no'} |",
                flush=True,
            )
        print(f"<!-- {asked}: {time.perf_counter() - start:.0f} s -->", flush=True)
    for used, told in right.items():
        lo, hi = wilson(sum(told), len(told))
        print(f"\n{'used' if used else 'unused'}: {sum(told)} of {len(told)} right, {lo:.2f} to {hi:.2f}")


def _phrases(truth: Truth, cls: str, planted: str) -> dict[str, tuple[float, bool]]:
    """Phrase -> its effect as a share of the gap, and whether it is used."""
    names = {
        next(iter(values)): phrase for phrase, values in sorted(truth.phrases.items(), reverse=True) if len(values) == 1
    }
    effects = {value: truth.effects[cls][value][0] / truth.gaps[cls] for value in names if value in truth.effects[cls]}
    own = sorted(truth.used(cls) & effects.keys(), key=lambda v: (v != planted, -effects[v]))[:2]
    least = sorted((v for v in effects if abs(effects[v]) < truth.share), key=lambda v: abs(effects[v]))[:2]
    return {names[v]: (effects[v], v in own) for v in (*own, *least)}


def _answers(classifier: str, cls: str, phrases: list[str], given: argparse.Namespace) -> list[dict[str, Any]]:
    found = xcore.ask(
        phrases,
        classifiers=[classifier],
        data="minizoo",
        classes=[cls],
        evidence=["observed"],
        dose=True,
        dosed=given.dosed,
        out=given.run / cls,
    )
    return list(found[-1].rows)


if __name__ == "__main__":
    main()
