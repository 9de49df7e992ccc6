"""Which explanations depend on what the network learned? `python benchmarks/sanity.py` runs all and prints the tables.

    python benchmarks/sanity.py                      # the suite sanity, and the pictures in another order and twice
    python benchmarks/sanity.py --classes zebra,cow  # a shorter run
    python benchmarks/sanity.py --run runs/sanity --table  # only the tables of what is done

Each method explains the trained network, networks whose weights are drawn anew from the top down, and one whose head
learned permuted labels (`minizoo/randomised`). All are compared with explanations of the trained network by another
seed (see `alike`). How alike the two seeds of the trained network are is the most that can be expected; what an
explanation of a network that learned nothing (``all``, ``labels``) falls short of it says whether the method changes:

- it does, if the 95 % t interval of the fall over classes lies above 0;
- it does not, if the interval lies below half of what the two seeds have in common;
- else so few classes cannot tell.

Directions are not judged for ``labels``, since the layers that they lie in are kept there.

The second table compares the explanations of the same pictures in another order, and of each picture given twice, with
those of the pictures as they were, with the same seed.

A run that was interrupted goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from alike import MEASURES, alike, made
from intervals import mean_interval, t_interval
from xcore_minizoo.data import REARRANGED, shuffled

import xcore
from xcore.contract import Explanation
from xcore.run.plan import load_suite
from xcore.store.run_directory import Store

SUITE = load_suite("sanity")
TRAINED = SUITE.classifiers[0]
NOTHING_LEARNED = ("all", "labels")
(SEED,) = SUITE.seeds
Found = Mapping[tuple[str, str, str], Explanation]
"""(label, classifier, class) -> explanation."""


def main() -> None:
    """Run what is missing, and print both tables."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--run", type=Path, default=Path("runs/sanity"), help="folder of the three runs")
    ask.add_argument("--classes", default="", help="classes, separated by commas; empty: those of the suite")
    ask.add_argument("--table", action="store_true", help="print the tables of what is done, without running anything")
    given = ask.parse_args()
    classes = given.classes.split(",") if given.classes else SUITE.classes
    if not given.table:
        run(given.run, classes)
    networks, again = (found(given.run / part, classes) for part in ("networks", "again"))
    print(f"Command: `python benchmarks/sanity.py`; classes {', '.join(classes)}\n")
    print(randomisation(networks, again, classes))
    others = {how: found(given.run / how, classes) for how in REARRANGED if (given.run / how).is_dir()}
    if others:
        print(rearrangement(networks, again, others, classes))


def run(folder: Path, classes: Sequence[str]) -> None:
    """Run what is missing: first what the verdicts rest on."""
    one = {"suite": "sanity", "classes": classes, "classifiers": [TRAINED]}
    xcore.bench(out=folder / "again", seeds=[SEED + 1], **one)
    for networks in ([c for c in SUITE.classifiers if c == TRAINED or stage(c) in NOTHING_LEARNED], SUITE.classifiers):
        xcore.bench(out=folder / "networks", **{**one, "classifiers": networks})
    for how in REARRANGED:
        xcore.bench(out=folder / how, data=f"minizoo/rearranged:{how}", contrast="minizoo", **one)


def stage(classifier: str) -> str:
    """From where the weights of a network are drawn anew, as its reference says."""
    return classifier.split(":")[2]


def found(folder: Path, classes: Sequence[str]) -> Found:
    """The finished explanations of a run."""
    Store(folder, reading=True)  # says what is wrong with a folder that is no run
    return {(m.label, *m.key[:2]): m.explanation for m in made(folder) if m.cell["cls"] in classes}


def randomisation(networks: Found, again: Found, classes: Sequence[str]) -> str:
    """The first table, and the methods that it names."""
    stages = [stage(c) for c in SUITE.classifiers[1:]]
    lines = [
        "## Networks that have unlearned\n",
        f"| method | compared | two seeds | {' | '.join(stages)} | fall to all [95 %] | fall to labels [95 %] |",
        "|---" * (5 + len(stages)) + "|",
    ]
    verdicts: dict[str, list[str]] = {"changes": [], "does not change": [], "so few classes cannot tell": []}
    for label in labels_of(networks):
        for measure in MEASURES:
            ceiling, *rows = (
                likeness(again, networks, label, classes, network=c).get(measure, {}) for c in SUITE.classifiers
            )
            if not ceiling:
                continue
            falls = []
            for name in NOTHING_LEARNED:
                other = rows[stages.index(name)]
                fall = [ceiling[c] - other[c] for c in ceiling if c in other]
                falls.append(mean_interval(fall))
                if fall and (measure, name) != ("directions", "labels"):
                    verdicts[verdict(fall, list(ceiling.values()))].append(f"{label} ({measure}, {name})")
            cells = [mean(row, ceiling) for row in (ceiling, *rows)]
            lines.append(f"| {label} | {measure} | {' | '.join([*cells, *falls])} |")
    said = [f"- {what}: {', '.join(who) or 'none'}" for what, who in verdicts.items()]
    return "\n".join([*lines, "\nWith what the network learned, the explanation\n", *said, ""])


def verdict(fall: Sequence[float], ceiling: Sequence[float]) -> str:
    """Whether an explanation changes where the network learned nothing; of values that are all equal, by the value."""
    low, high = t_interval(fall)
    if low > 0:
        return "changes"
    return "does not change" if high < float(np.mean(ceiling)) / 2 else "so few classes cannot tell"


def rearrangement(networks: Found, again: Found, others: Mapping[str, Found], classes: Sequence[str]) -> str:
    """The second table: pictures in another order, and each twice."""
    lines = [
        "## The same pictures, rearranged\n",
        "| method | compared | two seeds | " + " | ".join(others) + " |",
        "|---" * (3 + len(others)) + "|",
    ]
    n = SUITE.budget.samples
    rows = {"shuffled": inverse(shuffled(n)), "twice": list(range(n))}
    for label in labels_of(networks):
        found_in = {how: likeness(networks, other, label, classes, rows[how]) for how, other in others.items()}
        ceiling = likeness(again, networks, label, classes)
        for measure in MEASURES:
            if any(measure in values for values in found_in.values()):
                cells = [mean(v.get(measure, {}), ceiling.get(measure, {})) for v in (ceiling, *found_in.values())]
                lines.append(f"| {label} | {measure} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def labels_of(networks: Found) -> list[str]:
    """The methods of a run, in the order of the suite."""
    present = {label for label, *_ in networks}
    return [label for label in SUITE.labels if label in present]


def likeness(
    a: Found, b: Found, label: str, classes: Sequence[str], rows: Sequence[int] | None = None, network: str = TRAINED
) -> dict[str, dict[str, float]]:
    """Measure -> class -> how alike the explanations a of the trained network and those b of a network are."""
    found: dict[str, dict[str, float]] = {}
    for cls in classes:
        one, other = a.get((label, TRAINED, cls)), b.get((label, network, cls))
        if one is not None and other is not None:
            for measure, value in alike(one, other, rows).items():
                found.setdefault(measure, {})[cls] = value
    return found


def inverse(order: Sequence[int]) -> list[int]:
    """Where each picture went."""
    return [int(i) for i in np.argsort(order)]


def mean(values: Mapping[str, float], wanted: Mapping[str, float]) -> str:
    """The mean over classes; "-" if one is not done, or cannot be compared."""
    return f"{np.mean(list(values.values())):.2f}" if values and set(values) >= set(wanted) else "-"


if __name__ == "__main__":
    main()
