"""What each kind of evidence finds in classifiers whose dependence is known: `python benchmarks/wired.py`.

    python benchmarks/wired.py                               # observed and factorial evidence on all 120 classifiers
    python benchmarks/wired.py --kinds tcav,edited --each 3  # the dearer ones on the first three of each family

For every classifier the script prints nothing and keeps what was found in --run, so that it can be stopped and goes on
where it was. What was found with other code, weights or settings is found anew. At the end it prints a table for each
kind: for each family of classifiers the AUC of the ranking (phrases that name only used values against all others), the
reciprocal rank of the first such phrase, and the share of phrases with a raising mark among those that name only used
values, some, and none. Intervals are over classifiers (t).

What is used is the truth table of the classifier, measured by intervention (docs/judge.md). The class is "wired".
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from intervals import mean_interval
from xcore_evidence.edited import EDITS, edited
from xcore_evidence.estimates import Evidence
from xcore_evidence.factorial import factorial
from xcore_evidence.observed import observed
from xcore_minizoo.wired_zoo import FAMILIES, zoo
from xcore_tcav.options import TcavOptions
from xcore_tcav.tcav import Tcav

from xcore.contract import Cell, Ref, Task, Truth, digest
from xcore.registry import load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

KINDS = ("observed", "factorial", "edited", "tcav")
Found = tuple[list[str], list[float], list[int]]
"""Phrases, their importances, and their marks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="observed,factorial", help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--each", type=int, default=15, help="classifiers of each family, from the first")
    parser.add_argument("--run", type=Path, default=Path("runs/wired"), help="directory that keeps what was found")
    parser.add_argument("--edits", type=int, default=EDITS, help="edited pictures of the class")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    bench = Workbench(load_registry(), Store(arguments.run))
    rows: list[Mapping[str, Any]] = []
    for family, wiring in zoo():
        number = sum(row["family"] == family for row in rows) // len(kinds)
        if number < arguments.each:
            rows += [_row(bench, arguments, family, str(wiring), kind) for kind in kinds]
    for kind in kinds:
        print(_table(kind, [row for row in rows if row["kind"] == kind]), "\n")


def _row(bench: Workbench, arguments: argparse.Namespace, family: str, expression: str, kind: str) -> Mapping[str, Any]:
    """The figures of one kind of evidence on one classifier; what they come from is found once and kept."""
    run, edits = arguments.run, arguments.edits
    cell = cell_of(bench, expression, kind)
    kept = run / "rows" / f"{identity(bench, cell, kind, edits)}.json"
    if not kept.is_file():
        task = bench.task(cell, run / "work", lambda step, total, note="": None)
        start = time.perf_counter()
        found = _found(task, kind, cell.method.options, edits)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"found": found, "seconds": time.perf_counter() - start}))
    told = json.loads(kept.read_text())
    truth = bench.truth(cell)
    assert truth is not None, f"{cell.classifier} has no truth table"
    about = {"family": family, "expression": expression, "kind": kind, "seconds": told["seconds"]}
    return about | _judged(truth, *told["found"])


def cell_of(bench: Workbench, expression: str, kind: str) -> Cell:
    """What is asked about a wired classifier, with all settings that are not defaults of the code."""
    ref = Ref(f"minizoo/wired:{expression}")
    defaults = bench.dataset(ref).defaults
    roles = {role: Ref(name) for role, name in defaults.items() if role not in ("classifier", "generator", "contrast")}
    return Cell(
        label="tcav" if kind == "tcav" else "rlpo",  # rlpo draws, so that the task has a generator
        method=Ref("tcav", {"maps": 0}) if kind == "tcav" else Ref("rlpo"),
        classifier=ref,
        data=ref,
        cls="wired",
        seed=0,
        generator=Ref(defaults["generator"], {"steps": 10, "batch_size": 12}),
        models=roles,
    )


def identity(bench: Workbench, cell: Cell, kind: str, edits: int) -> str:
    """What a kept finding depends on: code, weights and settings of all that takes part in it.

    The evidence is asked with the defaults of the code, which counts as a whole (it is part of what rlpo requires), but
    for the number of edits. TCAV reads the generator only where its options say so, but it is cheap to count it always.
    """
    generator = bench.identity.component("generator", cell.generator) if cell.generator else None
    asked = [kind, edits] if kind == "edited" else [kind]
    return digest([*asked, bench.identity.explanation(cell), generator])


def _found(task: Task, kind: str, options: Mapping[str, Any], edits: int) -> Found:
    """The phrases that a kind of evidence ranks, as a method would with its defaults."""
    if kind == "tcav":
        task.workdir.mkdir(parents=True, exist_ok=True)
        concepts = Tcav(TcavOptions(**options)).explain(task).concepts
        marks = [int(c.evidence["mark"]) for c in concepts]
        return [c.name for c in concepts], [c.importance for c in concepts], marks
    gather: dict[str, Callable[..., Evidence]]
    gather = {"observed": observed, "factorial": factorial, "edited": partial(edited, edits=edits)}
    evidence = gather[kind](task, task.vocabulary)
    # a phrase that could not be tested stands in the middle, where it says nothing
    effects = [e.effect if e.tested else 0.0 for e in evidence.estimates]
    return [e.phrase for e in evidence.estimates], effects, [e.mark for e in evidence.estimates]


def _judged(truth: Truth, phrases: Sequence[str], importances: Sequence[float], marks: Sequence[int]) -> dict[str, Any]:
    """AUC, rank and marks of phrases that name used values only, some, or none; None where there are none of them."""
    used = truth.used("wired")
    named = [truth.phrases.get(p, frozenset()) for p in phrases]
    kinds = ["used" if n and n <= used else "some" if n & used else "none" for n in named]
    good = np.array([k == "used" for k in kinds])
    value = np.array(importances)
    raised: dict[str, list[bool]] = {"used": [], "some": [], "none": []}
    for mark, kind in zip(marks, kinds, strict=True):
        raised[kind].append(mark > 0)
    shares = {kind: float(np.mean(found)) if found else None for kind, found in raised.items()}
    if not good.any() or good.all():
        return {"auc": None, "rank": None, "marks": shares, "used": sorted(used)}
    above = value[good][:, None] - value[~good]
    best = 1 + int((value > value[good].max()).sum())
    auc = float(((above > 0) + 0.5 * (above == 0)).mean())
    return {"auc": auc, "rank": best, "marks": shares, "used": sorted(used)}


def _table(kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures of a kind by family, as Markdown."""
    seconds = np.mean([row["seconds"] for row in rows])
    lines = [
        f"**{kind}** ({len(rows)} classifiers, {seconds:.1f} s each)",
        "",
        "| family | n | AUC | 1 / rank of the first | marked: used | some | none |",
        "|---|---|---|---|---|---|---|",
    ]
    for family in (*FAMILIES, "all"):
        own = [row for row in rows if family in ("all", row["family"])]
        figures = [
            [row["auc"] for row in own],
            [None if row["rank"] is None else 1 / row["rank"] for row in own],
            *([row["marks"][named] for row in own] for named in ("used", "some", "none")),
        ]
        shown = [mean_interval([x for x in column if x is not None]) for column in figures]
        lines.append(f"| {family} | {len(own)} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
