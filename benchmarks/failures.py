"""Whether `xcore failures` names a planted shortcut first, and nothing on the twin that was trained without it.

A classifier that learned a planted factor value as part of a class misses pictures of the class without it. So the
first failure mode should be the absence of this value. On the twin (rho = 0) no mode should name the value. Pictures
are those that the planted world holds out, in which the value is as frequent in every class (.2).

    python benchmarks/failures.py zebra:background=water leopard:background=forest --seed 101 [--twins] [--tags phrases]

Classifiers that are not in the cache are trained, about 4 minutes each.

    python benchmarks/failures.py --null

asks how often a mode is shown where failures have nothing to do with twelve random tags, in 400 made worlds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from xcore_acting import failures_search as search
from xcore_acting.failures_tags import Tags

import xcore

WORLDS, TAGS = 400, 12


def null(n: int, share: float) -> None:
    """How often a mode is shown in n samples of which a share fails, whatever their tags."""
    rules, shown = search.Rules(), 0
    for world in range(WORLDS):
        rng = np.random.default_rng([world, n])
        tags = Tags(tuple(map(str, range(TAGS))), rng.random((n, TAGS)) < 0.35)
        wrong = rng.random(n) < share
        chosen = search.halves(wrong, world)
        found, _ = search.modes(search.with_absent(tags), wrong, chosen, rules)
        shown += bool(search.marked(found, rules))
    print(f"{n} samples of which {share:.0%} fail: a mode is shown in {shown} of {WORLDS} worlds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plantings", nargs="*", metavar="CLASS:FACTOR=VALUE")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--twins", action="store_true", help="ask the twins instead")
    parser.add_argument("--tags", default="metadata", help="metadata or phrases")
    parser.add_argument("--out", default="")
    parser.add_argument("--null", action="store_true", help="made worlds without a failure mode, instead")
    given = parser.parse_args()
    if given.null:
        null(300, 0.3)
        null(600, 0.1)
        return
    first = named = 0
    for planting in given.plantings:
        cls, _, factor = planting.partition(":")
        rho = 0 if given.twins else 1
        with tempfile.TemporaryDirectory() as scratch:
            (found,) = xcore.failures(
                f"minizoo/planted:class={cls},factor={factor},rho={rho},seed={given.seed}",
                data="minizoo/planted",
                classes=[cls],
                kinds=["missed"],
                tags=[given.tags],
                set={"minizoo/planted": {"cls": cls, "factor": factor, "rho": 1.0}},
                out=Path(given.out or scratch) / cls,
            )
        value = factor.partition("=")[2]
        names = {f"not {factor}", f"not {value}", f"not a {value}", f"not an {value}"}
        shown = [row for row in found.rows if row.get("shown") and row["way"] == "tags"]
        first += bool(shown) and shown[0]["mode"] in names
        named += any(value in row["mode"] for row in shown)
        coverage = found.found.figures.get("missed", {}).get("coverage", {})
        line = {
            "planting": planting,
            "rho": rho,
            "accuracy": found.rows[0]["accuracy"],
            "first": shown[0]["mode"] if shown else None,
            "of the mode": shown[0]["accuracy"] if shown else None,
            "modes": len(shown),
            "accounts": {way: round(c["accounts"], 2) for way, c in coverage.items()},
        }
        print(json.dumps(line), flush=True)
    n = len(given.plantings)
    print(f"the planted value's absence is the first mode in {first} of {n}, and some mode names the value in {named}")


if __name__ == "__main__":
    main()
