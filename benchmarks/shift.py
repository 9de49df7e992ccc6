"""Does fine-tuning change what it should? `python benchmarks/shift.py zebra:background=water --seed 101` says.

Every classifier was trained with a shortcut (`minizoo/planted`). It is fine-tuned in two ways, with default options,
and compared with what it was by `xcore shift` on pictures in which the planted value is no rarer in the class than
elsewhere:

- away from the shortcut: its background is swapped with that of pictures of other classes (`--masked background`);
- towards the coat: a hundred drawings of the class's coat on animals of the other kinds (`--generated`).

For each the script prints the accuracy of the class before and after, the change of the planted phrase, those of the
phrases of the class's own shape and coat, and which other phrases lost. Numbers are shares of the gap. "lost" and
"gained" are by the corrected test (Holm over all phrases). What was found is kept in --run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xcore_minizoo.world import CLASSES

import xcore

KINDS = ("horse", "cat", "bird", "fish")


def main() -> None:
    """Fine-tune, compare, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plantings", nargs="+", metavar="CLASS:background=VALUE")
    parser.add_argument("--seed", type=int, default=101, help="seed of the classifiers")
    parser.add_argument("--run", type=Path, default=Path("runs/shift"), help="directory that keeps what was found")
    given = parser.parse_args()
    print("| planting | tuned on | accuracy | planted phrase | its shape and coat | others that lost |")
    print("|" + "---|" * 6)
    for planting in given.plantings:
        cls, _, factor = planting.partition(":")
        for way in ("swapped backgrounds", "drawings of the coat"):
            print(
                f"| {planting} | {way} | {' | '.join(shifted(cls, factor, way, given.seed, given.run))} |", flush=True
            )


def shifted(cls: str, factor: str, way: str, seed: int, run: Path) -> list[str]:
    """The cells of a row after its first two."""
    classifier = f"minizoo/planted:class={cls},factor={factor},rho=1,seed={seed}"
    data: dict[str, Any] = {"minizoo/planted": {"cls": cls, "factor": factor, "rho": 1.0}}
    shape, pattern, colours = CLASSES[cls]
    coat = f"{' and '.join(colours)} {pattern}" if pattern != "plain" else colours[0]
    what: dict[str, Any] = (
        {"masked": "background"}
        if way.startswith("swapped")
        else {"generated": [f"a {coat} {kind}" for kind in KINDS if kind != shape]}
    )
    folder = run / f"{cls}-{way.split()[0]}"
    tuned = xcore.finetune(classifier, data="minizoo/planted", classes=[cls], set=data, out=folder, seed=0, **what)
    (found,) = xcore.shift(
        classifier, f"tuned:{folder}", data="minizoo", classes=[cls], out=run / f"{folder.name}-shift"
    )
    (accuracy,) = (row for row in tuned.rows if row["of"] == "class" and row["name"] == cls)
    value = factor.partition("=")[2]
    own = {f"a {shape}", f"{pattern} texture", f"{coat} texture", *(f"{c} texture" for c in colours)}
    planted = [row for row in found.rows if row["concept"] == value]
    mine = [row for row in found.rows if row["concept"] in own]
    lost = [row for row in found.rows if row["changed"] == "lost" and row not in [*planted, *mine]]
    accuracies = f"{accuracy['before']:.2f}, {accuracy['after']:.2f}"
    return [accuracies, *(", ".join(map(told, rows)) or "none" for rows in (planted, mine, lost))]


def told(row: Any) -> str:
    """A change with its interval."""
    ends = f"[{row['difference_lo']:.2f}, {row['difference_hi']:.2f}]"
    return f"{row['concept']} {row['difference']:+.2f} {ends} {row['changed']}".strip()


if __name__ == "__main__":
    main()
