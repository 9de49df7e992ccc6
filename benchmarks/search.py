"""Why reinforcement learning? `python benchmarks/search.py --classifier REF` compares searches at equal drawn images.

Every search gets the same seed prompts of a class, all of them, and the same noise. After 20, 100, 200 and 400 drawn
images, those that judge updates counted, its best prompt so far, the one whose groups scored best when they were last
drawn, is tested with the adapter that it has by then, without an update that was not judged yet: on fresh drawings that
no search has seen, with the same noise for all searches. Where a step goes beyond one of these numbers, the state
before the step is tested. Since judging costs images, a search takes fewer steps than images / 2 n; the DQN's share of
random choices still falls over so many.

The test is the TCAV effect on held-out images of the class against held-out random sets. That is what all searches are
paid by, so that the table says how well they search, and not whether TCAV effects find what a classifier uses
(`benchmarks/evidence.py` says that). The margin of the class on the same drawings is printed beside it: no search has
seen it.

"random, updates of dqn" makes as many updates as the DQN made for this class and seed, since searches that choose weak
prompts make more. Differences are paired by class and seed; intervals are over classes (see `intervals`). Finished runs
are kept in --out, and the same command continues; they are named after all that they depend on: the cell with its
options, those of the search, and the code and the weights of all that takes part.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from intervals import shown, shown_difference
from xcore_evidence.margins import margin
from xcore_rlpo.algorithm import Search, States
from xcore_rlpo.keeping import reading_of
from xcore_rlpo.options import Options
from xcore_rlpo.policy import Dqn
from xcore_rlpo.rlpo import encoder, policy_of
from xcore_rlpo.seed_prompts import choose
from xcore_tcav.scorer import Scorer

from xcore.base.files import slug
from xcore.contract import Adapter, Cell, digest, seeded
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

CHECKED = (20, 100, 200, 400)
"""Drawn images after which a search is tested."""
SEARCHES = ("dqn", "greedy", "evolve", "random", "brute")
SAME_UPDATES = "random, updates of dqn"
OWN = "dqn"
FRESH = 9_000_000
"""Seeds of the drawings of a test start here; no step draws from them."""
SETS, EACH = 3, 10
"""Sets of the drawings of a test, and their size."""


def main() -> None:
    """Run what is not finished, and print the tables as Markdown."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--classifier", required=True)
    ask.add_argument("--classes", default="", help="comma-separated; default: those of the suite minizoo-full")
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--searches", default=",".join(SEARCHES))
    ask.add_argument("--n", type=int, default=5, help="images in each of the two groups of a step")
    ask.add_argument("--set", default="{}", help='other options of rlpo, as JSON: {"keep": "all"}')
    ask.add_argument("--out", default="runs/search")
    flags = ask.parse_args()
    if 2 * flags.n > CHECKED[0]:
        ask.error(f"--n {flags.n}: a step draws more than {CHECKED[0]} images; name {CHECKED[0] // 2} or less")
    searches = flags.searches.split(",")
    if {"dqn", "random"} <= set(searches):
        searches.append(SAME_UPDATES)

    suite = load_suite("minizoo-full").model_copy(
        update={"methods": ["rlpo"], "arms": [], "controls": [], "metrics": [], "leave_out": {}, "threads": 1}
    )
    suite = suite.model_copy(update={"classifiers": [flags.classifier], "seeds": list(range(flags.seeds))})
    if flags.classes:
        suite = suite.model_copy(update={"classes": flags.classes.split(",")})
    registry = load_registry()
    bench = Workbench(registry, Store(Path(flags.out)))
    runs: list[dict[str, Any]] = []
    for cell in make_plan(suite, registry).cells:
        judged = None
        o = options_of(cell, flags.n, json.loads(flags.set))
        for search in searches:
            updates = None
            if search == SAME_UPDATES:
                updates = next(r["updates"] for r in runs if same(r, cell) and r["search"] == OWN)
            name = slug(f"{flags.classifier}-{cell.cls}-{cell.seed}-{search}")
            name += f"-{identity(bench, cell, o, search, updates)}"
            file = Path(flags.out) / "searches" / f"{name}.json"
            if not file.is_file():
                judged = judged or Judged(bench, cell, o)
                with seeded(cell.seed):
                    made = judged.run(search, updates)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(made, indent=1), encoding="utf-8")
            runs.append(json.loads(file.read_text(encoding="utf-8")))
            print(f"{name}: {runs[-1]['seconds']:.0f} s, {runs[-1]['updates']} updates", flush=True)
    tables(runs, searches)


def same(run: Mapping[str, Any], cell: Cell) -> bool:
    """Whether a run is of this class and seed."""
    return run["class"] == cell.cls and run["seed"] == cell.seed


def options_of(cell: Cell, n: int, changed: Mapping[str, Any]) -> Options:
    """RLPO's options in a search: those of the suite, all prompts searched, and as many images as are tested."""
    fixed = {"n": n, "images": CHECKED[-1], "updates": None, "patience": 0, "adapters": "own", "reward": "gain"}
    return Options(**{**cell.method.options, **fixed, **changed})


def identity(bench: Workbench, cell: Cell, options: Options, search: str, updates: int | None) -> str:
    """What a kept run depends on: code, weights and settings of all that takes part in it, and how it is tested."""
    generator = bench.identity.component("generator", cell.generator) if cell.generator else None
    test = [CHECKED, FRESH, SETS, EACH]
    return digest([bench.identity.explanation(cell), generator, options.model_dump(mode="json"), search, updates, test])


class Judged:
    """The searches of one class and seed, and what they are tested with."""

    def __init__(self, bench: Workbench, cell: Cell, options: Options) -> None:
        self.options = options
        self.cell, self.task = cell, bench.task(cell, Path(), lambda step, total, note="": None)
        task = self.task
        assert task.generator is not None, "the suite names a generator"
        self.generator, self.render = task.generator, f"generated:{task.generator.fingerprint}"
        self.found = choose(task, self.options)
        self.read = reading_of(task, options)
        self.probe = task.classifier.open(task.layer)
        self.scorer = Scorer(self.probe, task.target, task.samples, task.random_set, folds=0)
        self.judge = Scorer(self.probe, task.target, bench.heldout(cell), bench.random_sets(cell, "heldout"), folds=0)
        self.tested: dict[tuple[str, str], tuple[float, float]] = {}

    def run(self, name: str, updates: int | None) -> dict[str, Any]:
        """One search, tested after each of `CHECKED` images."""
        kind = "random" if name == SAME_UPDATES else name
        o = self.options.model_copy(update={"search": kind, "updates": updates})
        begun, spent = time.perf_counter(), 0.0
        search = Search(
            self.generator,
            self.scorer,
            self.found.phrases,
            o,
            steps=o.search_steps,
            seed=self.cell.seed,
            render=self.render,
            read=self.read,
        )
        last: dict[str, float] = {}
        best: tuple[str, Adapter | None] = "", None
        checked: list[dict[str, Any]] = []

        def check(images: int) -> None:
            nonlocal spent
            before = time.perf_counter()
            effect, logit = self.test(*best)
            checked.append({"images": images, "prompt": best[0], "effect": effect, "margin": logit})
            spent += time.perf_counter() - before

        def on_step(row: Mapping[str, Any]) -> None:
            nonlocal best
            while best[0] and len(checked) < len(CHECKED) and row["images"] > CHECKED[len(checked)]:
                check(CHECKED[len(checked)])  # this step goes beyond, so the state before it counts
            last[row["phrase"]] = sum(row["effect"]) / 2
            prompt = max(last, key=lambda phrase: last[phrase])
            best = prompt, search.settled_adapter_of(prompt)

        if kind == "dqn":
            states = States(encoder(self.task, o, self.probe), self.task.samples, o.n, self.cell.seed)
            dqn = Dqn(len(search.phrases), len(states.mean()), o, steps=o.search_steps, seed=self.cell.seed)
            search.run(dqn, states, on_step)
        else:
            search.run(policy_of(o, search.phrases, self.found.beside, self.task), on_step=on_step)
        best = best[0], search.adapter_of(best[0])  # all updates are judged by now
        for images in CHECKED[len(checked) :]:
            check(images)
        return {
            "classifier": self.cell.classifier.text,
            "class": self.cell.cls,
            "seed": self.cell.seed,
            "search": name,
            "updates": sum(search.updates),
            "kept": sum(search.kept) if o.keep == "gain" else sum(search.updates),
            "drawn": search.drawn,
            "checked": checked,
            "seconds": time.perf_counter() - begun - spent,
            "seconds_of_tests": spent,
        }

    def test(self, prompt: str, adapter: Adapter | None) -> tuple[float, float]:
        """TCAV effect on held-out class images, and mean margin, of fresh drawings; the same ones are made once."""
        key = (prompt, adapter.digest if adapter else "")
        if key not in self.tested:
            m = SETS * EACH
            drawn = self.generator.generate([prompt] * m, [FRESH + i for i in range(m)], adapter)
            sets = [drawn.take(range(i * EACH, (i + 1) * EACH)) for i in range(SETS)]
            effect = float(np.mean([s.effect for s in self.judge.score_many(sets, self.render)]))
            margins = margin(self.task.classifier.logits(drawn), self.task.target)
            self.tested[key] = (effect, float(margins.mean()))
        return self.tested[key]


def tables(runs: list[dict[str, Any]], searches: list[str]) -> None:
    """What was found after so many images, and the differences of the DQN from the others."""
    print("\n| search | updates, mean | kept, mean | images, mean | seconds, mean |\n|---|---|---|---|---|")
    for name in searches:
        own = [r for r in runs if r["search"] == name]
        updates, kept, drawn, seconds = (
            np.mean([r[what] for r in own]) for what in ("updates", "kept", "drawn", "seconds")
        )
        print(f"| {name} | {updates:.1f} | {kept:.1f} | {drawn:.0f} | {seconds:.0f} |")
    for what, says in (("effect", "TCAV effect of the best prompt so far"), ("margin", "Margin of its drawings")):
        print(f"\n## {says}\n")
        head = "| search | " + " | ".join(f"{images} images" for images in CHECKED) + " |"
        rule = "|---|" + "---|" * len(CHECKED)
        print(f"{head}\n{rule}")
        for name in searches:
            print(f"| {name} | " + " | ".join(shown(cases(runs, name, what, at)) for at in CHECKED) + " |")
        if OWN not in searches:
            continue
        print(f"\n{head.replace('| search |', '| difference |')}\n{rule}")
        for name in searches:
            if name != OWN:
                gaps = [minus(cases(runs, OWN, what, at), cases(runs, name, what, at)) for at in CHECKED]
                print(f"| {OWN} - {name} | " + " | ".join(shown_difference(gap) for gap in gaps) + " |")


def cases(runs: list[dict[str, Any]], name: str, what: str, images: int) -> dict[tuple[str, int], float]:
    """(class, seed) -> a figure of a search after so many images."""
    return {
        (run["class"], run["seed"]): one[what]
        for run in runs
        if run["search"] == name
        for one in run["checked"]
        if one["images"] == images
    }


def minus(own: Mapping[tuple[str, int], float], other: Mapping[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    """Paired differences."""
    return {key: own[key] - other[key] for key in own.keys() & other.keys()}


if __name__ == "__main__":
    main()
