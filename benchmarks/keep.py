"""What tuning does to drawings, where all updates are kept and where only those that help: `python benchmarks/keep.py`.

Each prompt is searched by itself, in turn, with the settings of the suite minizoo-full. It is then drawn by the
original generator and by what the updates have made of it, with the same new noise, and both are scored by TCAV on
held-out images of the class against held-out random sets, and read by the image-text model. The pictures are written
to --out, a file for each class: rows are the original generator, keep=all and keep=gain, for one prompt after another.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from xcore_rlpo.algorithm import Search
from xcore_rlpo.keeping import reading_of
from xcore_rlpo.options import Options
from xcore_rlpo.policy import RoundRobin
from xcore_tcav.scorer import Scorer

from xcore.base.files import slug
from xcore.contract import Adapter, Cell, Samples, seeded
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

FRESH = 9_000_000
"""Seeds of the drawings of a test start here; no step draws from them."""
SETS, EACH = 3, 10
"""Sets of the drawings of a test, and their size."""


def main() -> None:
    """Print the table as Markdown, and write the pictures."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--classifier", default="minizoo/clean")
    ask.add_argument("--classes", default="tiger,zebra")
    ask.add_argument("--prompts", default="striped texture,white and black striped texture", help="comma-separated")
    ask.add_argument("--steps", type=int, default=8, help="steps for each prompt")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--eta", type=float, default=None, help="TCAV score at which no update is made; default: RLPO's")
    ask.add_argument("--out", default="runs/keep")
    flags = ask.parse_args()
    suite = load_suite("minizoo-full").model_copy(
        update={"methods": ["rlpo"], "arms": [], "controls": [], "metrics": [], "leave_out": {}, "threads": 1}
    )
    asked = {"classifiers": [flags.classifier], "classes": flags.classes.split(","), "seeds": [flags.seed]}
    suite = suite.model_copy(update=asked)
    registry = load_registry()
    bench = Workbench(registry, Store(Path(flags.out)))
    print(
        "| class | prompt | keep | updates made | kept | why not | TS before | after | effect before | after ", end=""
    )
    print("| reading before (SD) | after |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    for cell in make_plan(suite, registry).cells:
        changed: dict[str, Any] = {"images": None, "updates": None, "patience": 0, "search": "brute"}
        changed |= {} if flags.eta is None else {"eta": flags.eta}
        options = Options(**cell.method.options).model_copy(update=changed)
        with seeded(cell.seed):
            rows = of_cell(bench, cell, options, flags.prompts.split(","), flags.steps)
        save(rows, Path(flags.out) / f"{slug(f'{flags.classifier}-{cell.cls}')}.png")


def of_cell(bench: Workbench, cell: Cell, options: Options, prompts: list[str], steps: int) -> list[torch.Tensor]:
    """Search and test the prompts for one class; the first drawings of each."""
    task = bench.task(cell, Path(), lambda step, total, note="": None)
    generator, read = task.generator, reading_of(task, options)
    assert generator is not None, "the suite names a generator"
    assert read is not None, "the suite names an image-text model"
    render, probe = f"generated:{generator.fingerprint}", task.classifier.open(task.layer)
    scorer = Scorer(probe, task.target, task.samples, task.random_set, folds=0)
    judge = Scorer(probe, task.target, bench.heldout(cell), bench.random_sets(cell, "heldout"), folds=0)

    def test(prompt: str, adapter: Adapter | None) -> tuple[Samples, float, float, list[float]]:
        drawn = generator.generate([prompt] * SETS * EACH, [FRESH + i for i in range(SETS * EACH)], adapter)
        scores = judge.score_many([drawn.take(range(i * EACH, (i + 1) * EACH)) for i in range(SETS)], render)
        ts, effect = (float(np.mean([getattr(s, name) for s in scores])) for name in ("ts", "effect"))
        return drawn, ts, effect, read(prompt, drawn)

    pictures = []
    for prompt in prompts:
        drawn, ts, effect, shown = test(prompt, None)
        pictures.append(drawn.images[:EACH])
        for keep in ("all", "gain"):
            o = options.model_copy(update={"keep": keep})
            reads = read if keep == "gain" else None
            search = Search(generator, scorer, [prompt], o, steps=steps, seed=cell.seed, render=render, read=reads)
            search.run(RoundRobin(1))
            why = [row["why"] for row in search.trace if row["updated"] and not row.get("kept", True)]
            told = "; ".join(f"{why.count(one)} {one}" for one in dict.fromkeys(why)) or "-"
            made = sum(search.updates)
            tuned, ts_tuned, effect_tuned, shown_tuned = test(prompt, search.adapter_of(prompt))
            pictures.append(tuned.images[:EACH])
            kept = sum(search.kept) if keep == "gain" else made
            print(
                f"| {cell.cls} | {prompt} | {keep} | {made} | {kept} | {told} | {ts:.2f} | {ts_tuned:.2f} "
                f"| {effect:+.3f} | {effect_tuned:+.3f} | {np.mean(shown):.3f} ({np.std(shown):.3f}) "
                f"| {np.mean(shown_tuned):.3f} |",
                flush=True,
            )
    return pictures


def save(rows: list[torch.Tensor], file: Path) -> None:
    """Write pictures, one row below the other."""
    from PIL import Image

    whole = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    Image.fromarray((whole.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()).save(file)


if __name__ == "__main__":
    main()
