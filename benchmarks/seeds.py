"""Whose seed prompts name what the classifier uses: `python benchmarks/seeds.py` prints it as Markdown.

For every class of the minizoo, seed prompts from visual question answering and from the ranked vocabulary are read word
by word (colours, patterns, shapes, backgrounds, objects). A prompt counts if it names a factor value, and only such as
the classifier uses by the truth table. Differences are paired by class; intervals and tests are over classes (see
`intervals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from intervals import shown, shown_difference
from xcore_minizoo.world import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, SHAPES
from xcore_rlpo.options import Options
from xcore_rlpo.seed_prompts import choose

from xcore.contract import Cell
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

VALUES = {
    **{c: f"colour={c}" for c in COLOURS},
    **{p: f"pattern={p}" for p in PATTERNS},
    **{s: f"shape={s}" for s in SHAPES},
    **{b: f"background={b}" for b in BACKGROUNDS},
    **{o: f"object={o}" for o in OBJECTS},
}
TOP = 3


def main() -> None:
    """Ask for the seeds of all classes and print the shares."""
    suite = load_suite("minizoo-full").model_copy(
        update={"methods": ["rlpo"], "arms": [], "controls": [], "seeds": [0]}
    )
    registry = load_registry()
    plan = make_plan(suite, registry)
    bench = Workbench(registry, Store(Path("runs/seeds")))
    for classifier in dict.fromkeys(cell.classifier for cell in plan.cells):
        print(f"\n# {classifier}\n")
        show(bench, [cell for cell in plan.cells if cell.classifier == classifier])


def show(bench: Workbench, cells: Sequence[Cell]) -> None:
    """The shares of seed prompts that name what one classifier uses."""
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for cell in cells:
        task = bench.task(cell, Path(), lambda step, total, note="": None)
        truth = bench.dataset(cell.data).truth(str(cell.classifier))
        assert truth is not None
        used = truth.used(cell.cls)
        for source in ("vqa", "vocabulary"):
            phrases = choose(task, Options(seeds=source)).phrases
            named = [{VALUES[w] for w in p.split() if w in VALUES} for p in phrases]
            right = [bool(n) and n <= used for n in named]
            print(f"- {cell.cls}, {source}: {', '.join(phrases[:6])}, ...")
            for what, share in (("first 3", sum(right[:TOP]) / TOP), ("all", sum(right) / len(right))):
                found.setdefault((source, what), {})[cell.cls, 0] = share
            said = set().union(*named) & used
            found.setdefault((source, "used values that are named"), {})[cell.cls, 0] = len(said) / len(used)
    print("\n| seed prompts that name used values only | vqa | vocabulary | difference |\n|---|---|---|---|")
    for what in ("first 3", "all", "used values that are named"):
        vqa, vocabulary = found["vqa", what], found["vocabulary", what]
        gap = {k: vqa[k] - vocabulary[k] for k in vqa}
        print(f"| {what} | {shown(vqa)} | {shown(vocabulary)} | {shown_difference(gap)} |")


if __name__ == "__main__":
    main()
