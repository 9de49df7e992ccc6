"""How large the page of a run of 10 methods x 20 classes is, and how long a browser takes to open it.

The explanations are made up: pictures as hard to compress as photographs (blocks of random colours, smoothed),
ten concepts, maps, and scores with a null, for each of 200 cells (or more, with --seeds). Prints one line of figures.

    python benchmarks/page_size.py --side 224
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from xcore.contract import Cell, Concept, Explanation, Outcome, Ref, Samples
from xcore.report import MetricInfo, build
from xcore.report.site.classes import PageCell
from xcore.report.site.run_page import page
from xcore.report.small_pictures import keep_gallery

sys.path.append(str(Path(__file__).resolve().parent / "perf"))
from figures import note

METRICS = ("TS", "CS", "ED", "RCS", "RED")


def pictures(n: int, side: int, seed: int) -> torch.Tensor:
    """Smooth random images, each another one."""
    blocks = torch.rand(n, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(blocks, size=side, mode="bilinear")


def score(metric: str, value: float) -> dict[str, Any]:
    """A score as rows have it."""
    details = {
        "null_mean": 0.5,
        "effect": value,
        "effect_lo": value - 0.1,
        "effect_hi": value + 0.1,
        "outside": 1.0,
        "mark": 1.0,
    }
    base = {
        "metric": metric,
        "value": value,
        "spread": 0.05,
        "over": "pairs",
        "n": 600,
        "variant": "layer3",
        "reason": None,
    }
    return {**base, "details": details if metric == "TS" else {}}


def cells(root: Path, methods: int, classes: int, seeds: int, side: int) -> tuple[list[PageCell], list[dict[str, Any]]]:
    """The records of a made-up run, and its rows."""
    made, rows = [], []
    for cls in range(classes):
        images = pictures(6, side, 1000 + cls)
        samples = Samples("image", images, tuple(f"made/{cls}/{i}" for i in range(6)))
        for method in range(methods):
            for seed in range(seeds):
                own = pictures(60, side, hash((cls, method, seed)))
                concepts = tuple(
                    Concept(
                        f"concept {k}",
                        1 / (k + 1),
                        Samples("image", own[6 * k : 6 * k + 6], tuple("abcdef")),
                        maps=own[:6, 0],
                    )
                    for k in range(10)
                )
                folder = root / f"{cls}-{method}-{seed}"
                folder.mkdir()
                keep_gallery(Explanation("m", f"class {cls}", "share", concepts), samples, folder)
                plain = [
                    {"name": c.name, "importance": c.importance, "words": [], "evidence": {"lo": 0.1, "hi": 0.9}}
                    for c in concepts
                ]
                record = {"explanation": {"concepts": plain, "importance_is": "share", "cost": {"seconds": 1.0}}}
                cell = Cell(f"method {method}", Ref("m"), Ref("net"), Ref("made"), f"class {cls}", seed)
                made.append(PageCell(Outcome(cell, "ok", folder.name), record, folder))
                base = {
                    "method": "m",
                    "label": cell.label,
                    "classifier": "net",
                    "data": "made",
                    "class": cell.cls,
                    "seed": seed,
                }
                base |= {"data_seed": seed, "status": "ok", "reason": "", "overall": {}, "seconds": 1.0, "note": ""}
                for k, concept in enumerate(concepts):
                    scores = {m: score(m, 0.9 - 0.05 * k) for m in METRICS}
                    rows.append({**base, "concept": concept.name, "rank": k + 1, "scores": scores})
    return made, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", type=int, default=10)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--side", type=int, default=64, help="pixels of an image")
    parser.add_argument("--keep", default="", help="where to write the page")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        made, rows = cells(Path(folder), asked.methods, asked.classes, asked.seeds, asked.side)
        kept = time.perf_counter() - start
        table = build(rows, {m: MetricInfo("higher") for m in METRICS}, header={"run": "made"})
        start = time.perf_counter()
        text = page(table, rows, made)
        seconds = time.perf_counter() - start
        path = Path(asked.keep or Path(folder) / "report.html")
        path.write_text(text, encoding="utf-8")
        figures = {"cells": len(made), "MB": round(path.stat().st_size / 1e6, 2), "s to make": round(seconds, 2)}
        figures["s a cell for its pictures"] = round(kept / len(made), 3)
        print(json.dumps(figures | opened(path)))
        note("page", ours=seconds)


def opened(path: Path) -> dict[str, float]:
    """Seconds until a browser has loaded the page, and until it has drawn it; the best of three."""
    program = shutil.which("chromium")
    if not program or importlib.util.find_spec("playwright") is None:
        print("Chromium or playwright is not there: the page is made, and not opened\n")
        return {}
    from playwright.sync_api import sync_playwright

    loads, draws = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(3):
            tab = browser.new_page()
            start = time.perf_counter()
            tab.goto(path.absolute().as_uri())
            loads.append(time.perf_counter() - start)
            tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            draws.append(time.perf_counter() - start)
            tab.close()
        browser.close()
    return {"s to load": round(min(loads), 2), "s to draw": round(min(draws), 2)}


if __name__ == "__main__":
    main()
