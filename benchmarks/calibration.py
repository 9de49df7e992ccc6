"""How often do the tests mark something where there is nothing? `python benchmarks/calibration.py` prints the table.

    python benchmarks/calibration.py                  # runs what is missing, then prints
    python benchmarks/calibration.py --classes zebra  # a shorter run
    python benchmarks/calibration.py --table          # only the table of what is done

The suite `calibration` asks the surrogate and skit about networks whose logits say nothing of a picture
(`minizoo/noise`). TCAV, which needs gradients, is asked about sets of random held-out pictures of other classes, which
are as far from the class as the random sets that it compares them with; once with the null distribution of its default
(coherent sets), and once with that of mixed sets, which are made like the tested ones.

For each the table gives the share of concepts with p <= .05 on each side, and of families (the concepts of one
explanation) in which the method marks any. The expected shares are .05 and, where Holm's correction at .05 on each side
marks, at most .10. skit has one p-value for both sides, 1 / its e-value, and marks by e-BH at .05: where there is
nothing to find, in at most .05 of the families. Wilson's intervals are of single cases: concepts of one family share
pictures, so that those of the first two columns are too narrow, and the last one, whose cases are families, is the one
to read.

A run that was interrupted goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from alike import Made, made
from PIL import Image
from xcore_evidence.statistics import wilson

import xcore
from xcore.contract import Ref
from xcore.registry import load_registry
from xcore.run.plan import load_suite

SUITE = load_suite("calibration")
TRAINED = "minizoo/clean"
SETS, N = 20, 12
"""Random sets of each family, and the pictures of each."""
SEEDS = [0, 1]
DATA_SEED = 4000
"""Seed of the tested pictures, other than that of any random set."""


def main() -> None:
    """Run what is missing, and print the table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--run", type=Path, default=Path("runs/calibration"), help="folder of the runs")
    ask.add_argument("--classes", default="", help="classes, separated by commas; empty: those of the suite")
    ask.add_argument("--table", action="store_true", help="print the table of what is done, without running anything")
    given = ask.parse_args()
    classes = given.classes.split(",") if given.classes else SUITE.classes
    if not given.table:
        xcore.bench(suite="calibration", out=given.run / "noise", classes=classes)
        for cls in classes:
            xcore.bench(["tcav"], out=given.run / f"random-{cls}", **random_sets(given.run, cls))
    print(f"Command: `python benchmarks/calibration.py`; classes {', '.join(classes)}\n")
    print("| test | null | p <= .05 above | p <= .05 below | families with a mark |")
    print("|---" * 5 + "|")
    found = [m for m in made(given.run / "noise") if m.cell["cls"] in classes]
    for label in SUITE.methods:
        print(row(label, "logits that say nothing", [m for m in found if m.label == label]))
    random = [m for cls in classes for m in made(given.run / f"random-{cls}")]
    for label in dict.fromkeys(m.label for m in random):
        print(row(label, "sets of random pictures", [m for m in random if m.label == label]))


def random_sets(run: Path, cls: str) -> dict[str, Any]:
    """What TCAV is asked about a class: sets of random held-out pictures of all other classes, kept as folders."""
    data = load_registry().create("dataset", Ref("minizoo"))
    folder = run / f"sets-{cls}"
    if not folder.is_dir():
        rng = np.random.default_rng(DATA_SEED)
        others = [data.samples(c, "heldout", SETS * N, DATA_SEED).images for c in data.classes if c != cls]
        for k in range(SETS):
            (folder / f"set-{k:02}").mkdir(parents=True)
            for i, which in enumerate(rng.integers(len(others), size=N)):
                pixels = others[which][k * N + i].permute(1, 2, 0).mul(255).round().byte().numpy()
                Image.fromarray(pixels).save(folder / f"set-{k:02}" / f"{i}.png")
    options = {"folders": [str(folder)], "maps": 0, "contrast": "random", "n": N}
    mixed = {"label": "tcav-mixed", "method": "tcav", "set": {"counterparts": "mixed"}}
    return {
        "data": "minizoo", "classes": [cls], "classifiers": [TRAINED], "seeds": SEEDS, "metrics": ["cost"],
        "set": {"tcav": options}, "arms": [mixed], "budget": SUITE.budget.model_dump(), "threads": 1,
    }  # fmt: skip


def row(label: str, null: str, found: Sequence[Made]) -> str:
    """The shares of one test."""
    concepts = [c.evidence for m in found for c in m.explanation.concepts]
    families = [any(c.evidence["mark"] != 0 for c in m.explanation.concepts) for m in found]
    cells = [share([c[side] <= 0.05 for c in concepts if side in c]) for side in ("p", "p_against")]
    return f"| {label} | {null} | {' | '.join([*cells, share(families)])} |"


def share(hits: Sequence[bool]) -> str:
    """A share of cases with Wilson's interval."""
    if not hits:
        return "-"
    low, high = wilson(sum(hits), len(hits))
    return f"{np.mean(hits):.3f} [{low:.3f}, {high:.3f}] ({sum(hits)} of {len(hits)})"


if __name__ == "__main__":
    main()
