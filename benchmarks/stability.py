"""How much of an explanation is the class, and how much the choices? `python benchmarks/stability.py` prints the table.

    python benchmarks/stability.py                    # runs what is missing, then prints
    python benchmarks/stability.py --methods craft    # a shorter run
    python benchmarks/stability.py --table            # only the table of what is done

The suite `stability` is the starting point. From there one thing is changed at a time, to two other values (`VARIED`):
the seed of the method, the draw of the explained pictures (and of the random sets, which are drawn with the same seed),
the layer, and the data set of the random sets. Concepts are told apart by their names, or matched with those of the
starting point (`alike.pairing`).

The importances of an explanation, standardised so that their unit drops out, are a table of concepts and values of the
changed thing. By the mean squares of a two-way layout without replication the variance of a concept's importance has a
part that is the concept's, (MS_concepts - MS_rest) / values, and one that comes from the change, MS_rest. The table
gives the share of each: of the concepts (the mean over the changes), and of every change; the shares of a row sum to 1.
The intervals are bootstrap percentiles over classes, which are too narrow for few classes (see `intervals`).

A run that was interrupted goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from alike import importance, made, pairing
from numpy.typing import NDArray

import xcore
from xcore.contract import Explanation
from xcore.run.plan import load_suite

SUITE = load_suite("stability")
VARIED: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "seed": ({"seeds": [1]}, {"seeds": [2]}),
    "pictures": ({"data_seed": 1}, {"data_seed": 2}),
    "layer": ({"layer": "layer2"}, {"layer": "layer4"}),
    "random sets": ({"contrast": "minizoo/objects"}, {"contrast": "minizoo/scenes"}),
}
"""What is changed -> its other values, as keys of the suite."""
DRAWS = 2000
Floats = NDArray[np.float64]
Found = Mapping[tuple[str, str], Explanation]
"""(label, class) -> explanation."""


def main() -> None:
    """Run what is missing, and print the table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--run", type=Path, default=Path("runs/stability"), help="folder of the runs")
    ask.add_argument("--methods", default="", help="methods, separated by commas; empty: those of the suite")
    ask.add_argument("--classes", default="", help="classes, separated by commas; empty: those of the suite")
    ask.add_argument("--table", action="store_true", help="print the table of what is done, without running anything")
    given = ask.parse_args()
    methods = given.methods.split(",") if given.methods else SUITE.methods
    classes = given.classes.split(",") if given.classes else SUITE.classes
    keys = {"suite": "stability", "methods": methods, "classes": classes}
    folders = {what: [given.run / f"{what.replace(' ', '-')}-{i}" for i in range(2)] for what in VARIED}
    if not given.table:
        xcore.bench(out=given.run / "start", **keys)
        for what, values in VARIED.items():
            for folder, changed in zip(folders[what], values, strict=True):
                xcore.bench(out=folder, **{**keys, **changed})
    start = found(given.run / "start")
    others = {what: [found(f) for f in of] for what, of in folders.items() if all(f.is_dir() for f in of)}
    print(f"Command: `python benchmarks/stability.py`; classes {', '.join(classes)}\n")
    print(f"| method | the concepts | {' | '.join(VARIED)} |\n" + "|---" * (2 + len(VARIED)) + "|")
    for method in methods:
        parts = {cls: parts_of(start, others, method, cls) for cls in classes if (method, cls) in start}
        print(f"| {method} | {' | '.join(shares({c: p for c, p in parts.items() if p}))} |")


def found(folder: Path) -> Found:
    """The finished explanations of a run."""
    return {(m.label, m.cell["cls"]): m.explanation for m in made(folder)}


def parts_of(start: Found, others: Mapping[str, Sequence[Found]], method: str, cls: str) -> dict[str, float]:
    """What is changed -> the variance that comes from it, where that can be told; "" -> that of the concepts."""
    parts: dict[str, float] = {}
    own = []
    for what, runs in others.items():
        one, changed = start[method, cls], [run[method, cls] for run in runs if (method, cls) in run]
        table = importances(one, changed, () if what == "pictures" else None)
        if len(changed) == len(runs) and table is not None:
            concepts, parts[what] = components(table)
            own.append(concepts)
    return {"": float(np.mean(own)), **parts} if own else {}


def importances(one: Explanation, others: Sequence[Explanation], rows: Sequence[int] | None) -> Floats | None:
    """(concepts, 1 + others): the importances of the concepts that all of them have; None if it cannot be told."""
    pairs = [pairing(one, other, rows) for other in others]
    if any(p is None for p in pairs):
        return None
    places = [dict(p) for p in pairs if p is not None]
    shared = [i for i in range(len(one.concepts)) if all(i in place for place in places)]
    columns = [[importance(one.concepts[i]) for i in shared]]
    columns += [[importance(o.concepts[place[i]]) for i in shared] for o, place in zip(others, places, strict=True)]
    return np.array(columns, dtype=float).T if len(shared) > 2 else None


def components(table: Floats) -> tuple[float, float]:
    """The variance of the concepts and that of the change, of importances (concepts, values) that are standardised."""
    spread = table.std(0)
    z = (table - table.mean(0)) / np.where(spread > 0, spread, 1.0)
    concepts, values = z.shape
    means = z.mean(1, keepdims=True)  # the columns have mean 0
    between = values * float((means**2).sum()) / (concepts - 1)
    rest = float(((z - means) ** 2).sum()) / ((concepts - 1) * (values - 1))
    return max(0.0, (between - rest) / values), rest


def shares(parts: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The shares of the concepts and of each change, with bootstrap intervals over classes; "-" = it cannot be told."""
    names = [n for n in ("", *VARIED) if parts and all(n in p for p in parts.values())]
    table = np.array([[p[n] for n in names] for p in parts.values()])
    said = {}
    if names:
        picks = np.random.default_rng(0).integers(len(table), size=(DRAWS, len(table)))
        drawn = np.array([_normalised(table[pick]) for pick in picks])
        ends = np.percentile(drawn, [2.5, 97.5], axis=0)
        for i, name in enumerate(names):
            said[name] = f"{_normalised(table)[i]:.2f} [{ends[0, i]:.2f}, {ends[1, i]:.2f}]"
    return [said.get(name, "-") for name in ("", *VARIED)]


def _normalised(table: Floats) -> Floats:
    mean: Floats = table.mean(0)
    return mean / mean.sum() if mean.sum() else mean


if __name__ == "__main__":
    main()
