"""What preference tuning does: `python benchmarks/preference.py --second file:PATH` prints it as Markdown.

Prompts whose TS effect at t = 0 is below the median of their class are chosen at t = 0 and picked in turn, once with
updates and once without. Afterwards both are drawn with the same fresh noise and scored against held-out class images
with random sets that no step has seen, also under a second classifier that no step has asked. Intervals are over
classes (see `intervals`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from intervals import sign_flip_p, t_interval
from xcore_rlpo.algorithm import Search
from xcore_rlpo.options import Options
from xcore_rlpo.policy import RoundRobin
from xcore_rlpo.seed_prompts import choose
from xcore_tcav.scorer import Scorer

from xcore.contract import Adapter, Cell, Ref, seeded
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

FRESH = 9_000_000
"""Seeds of the final drawings start here; no step draws from them."""


def main() -> None:
    """Run all classes and seeds and print the mean differences."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--suite", default="minizoo-full")
    ask.add_argument("--classifier", default="minizoo/clean")
    ask.add_argument("--classes", default="", help="comma-separated; default: the suite's")
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--first-seed", type=int, default=0)
    ask.add_argument("--adapt", default="", help='other options of the update, as JSON: {"lr": 3e-4, "beta": 200}')
    ask.add_argument("--steps", type=int, default=25, help="updates a prompt")
    ask.add_argument("--prompts", type=int, default=2, help="prompts a class and seed, of those below the median")
    ask.add_argument("--second", default="", help="a second classifier, e.g. file:PATH")
    ask.add_argument("--out", default="runs/preference")
    flags = ask.parse_args()

    suite = load_suite(flags.suite).model_copy(update={"methods": ["rlpo"], "arms": [], "controls": []})
    suite = suite.model_copy(update={"classifiers": [flags.classifier]})
    if flags.classes:
        suite = suite.model_copy(update={"classes": flags.classes.split(","), "leave_out": {}})
    suite = suite.model_copy(update={"seeds": [flags.first_seed + i for i in range(flags.seeds)]})
    registry = load_registry()
    plan = make_plan(suite, registry)
    bench = Workbench(registry, Store(Path(flags.out)))
    gains: dict[str, dict[str, list[float]]] = {"first": {}, "second": {}}
    print("| class | seed | prompt | effect off | on | TS off | on | effect on, second classifier, minus off |")
    print("|---|---|---|---|---|---|---|---|")
    for cell in plan.cells:
        with seeded(cell.seed):
            adapt = json.loads(flags.adapt or "{}")
            for prompt, off, on, other in tuned(bench, cell, flags.prompts, flags.steps, flags.second, adapt):
                gains["first"].setdefault(cell.cls, []).append(on[0] - off[0])
                shown = "n/a"
                if other is not None:
                    gains["second"].setdefault(cell.cls, []).append(other)
                    shown = f"{other:+.3f}"
                print(
                    f"| {cell.cls} | {cell.seed} | {prompt} | {off[0]:.3f} | {on[0]:.3f} | {off[1]:.2f} | {on[1]:.2f} "
                    f"| {shown} |",
                    flush=True,
                )
    for which, found in gains.items():
        if found:
            print(f"\nmean gain in effect by tuning, {which} classifier: {shown_gain(found)}")


def tuned(
    bench: Workbench, cell: Cell, count: int, steps: int, second: str, adapt: Mapping[str, Any]
) -> list[tuple[str, tuple[float, float], tuple[float, float], float | None]]:
    """(prompt, (effect, TS) without updates, with updates, gain under the second classifier) of the chosen prompts."""
    given = Options(**cell.method.options)
    # all steps are taken, and all updates kept, since the question is what they add
    every = {"patience": 0, "updates": None, "images": None, "keep": "all", "reward": "ts"}
    options = given.model_copy(update={"adapt": {**given.adapt, **adapt}, **every})
    task = bench.task(cell, Path(), lambda step, total, note="": None)
    generator = task.generator
    assert generator is not None, "the suite names a generator"
    render = f"generated:{generator.fingerprint}"
    phrases = choose(task, options).phrases
    scorer = Scorer(task.classifier.open(task.layer), task.target, task.samples, task.random_set, folds=0)

    def draw(prompt: str, start: int, adapter: Adapter | None):  # type: ignore[no-untyped-def]
        return generator.generate([prompt] * options.n, [start + i for i in range(options.n)], adapter)

    at_start = [scorer.score(draw(p, FRESH, None), render).effect for p in phrases]
    weak = [p for p, e in zip(phrases, at_start, strict=True) if e < np.median(at_start)]
    heldout = bench.heldout(cell)
    unseen = bench.random_sets(cell, "heldout")
    judge = Scorer(task.classifier.open(task.layer), task.target, heldout, unseen, folds=0)
    witness = None
    if second:
        other = bench.component("classifier", Ref(second))
        target = other.classes.index(cell.cls)
        witness = Scorer(other.open(task.layer), target, heldout, unseen, folds=0)
    found = []
    order = np.random.default_rng(cell.seed).permutation(len(weak))[:count]
    for prompt in [weak[i] for i in order]:
        search = Search(generator, scorer, [prompt], options, steps=steps, seed=cell.seed, render=render)
        search.run(RoundRobin(1))
        sets = [draw(prompt, 2 * FRESH, None), draw(prompt, 2 * FRESH, search.adapter_of(prompt))]
        off, on = judge.score_many(sets, render)
        gain = None
        if witness is not None:
            one, two = witness.score_many(sets, render)
            gain = two.effect - one.effect
        found.append((prompt, (off.effect, off.ts), (on.effect, on.ts), gain))
    return found


def shown_gain(gains: dict[str, list[float]]) -> str:
    """Mean over classes' means with its t interval and p by sign flips; gains are too small for two decimals."""
    means = [float(np.mean(v)) for v in gains.values()]
    low, high = t_interval(means)
    p = sign_flip_p(means)
    return f"{np.mean(means):+.3f} [{low:+.3f}, {high:+.3f}], n = {len(means)} classes, p = {p:.3f}"


if __name__ == "__main__":
    main()
