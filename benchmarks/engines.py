"""What engines gain and cost: two workers against one process, and what a run adds to its cells.

    python benchmarks/engines.py speed
    python benchmarks/engines.py overhead
    python benchmarks/engines.py again

`speed` runs 8 cells of one thread, each at least so many seconds of torch's own work, by `local` and by `processes`
with two workers, each as a command of its own with its start, and compares the wall times and the tables. `overhead`
runs 200 cheap cells in one process and says how much of its wall time is not spent in methods and metrics: what the
loop, the engine and the files that tell of the run take beside the cells, and then with tasks, records and pictures,
too; and how the memory of that process grows from the 20th cell to the last. `again` makes a run of 200 cells and then
gives the same command again, which has nothing to compute.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from kills import PLUGIN

sys.path.append(str(Path(__file__).resolve().parent / "perf"))
from figures import note

WORK = """
    def explain(self, task):
        import torch
        began = time.perf_counter()
        generator = torch.Generator().manual_seed(task.seed)
        a = torch.rand(256, 256, generator=generator)
        for i in range(int(os.environ["XCORE_WORK_ROUNDS"])):
            a = torch.tanh(a @ a / 128)
        samples = Samples("image", task.samples.images[:4], task.samples.ids[:4])
        made = Explanation("moment", task.target_name, "a sum", (Concept("C1", float(a.double().sum()), samples),))
        with Path(os.environ["XCORE_KILLS_LOG"]).open("a") as file:
            file.write(f"{time.perf_counter() - began}\\n")
        return made
"""


def plugin(folder: Path) -> Path:
    """The world of the kill harness with a method that works for a number of rounds."""
    start, end = PLUGIN.index("    def explain(self, task):"), PLUGIN.index("\n\nclass Digest")
    file = folder / "moment_plugin.py"
    file.write_text(PLUGIN[:start] + WORK.strip("\n") + "\n" + PLUGIN[end:].replace("time.sleep(0.05)", "pass"))
    return file


def rounds(seconds: float) -> int:
    """How many rounds take so long on one thread of this machine, when it is idle."""
    import torch

    torch.set_num_threads(1)
    a = torch.rand(256, 256)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < 2.0:
        for _ in range(50):
            a = torch.tanh(a @ a / 128)
        done += 50
    return int(done / (time.perf_counter() - began) * seconds)


def command(folder: Path, run: str, seeds: int, *words: str) -> float:
    """Wall seconds of a bench of three times so many cells, less one class, as a command."""
    call = [sys.executable, "-m", "xcore", "bench", "--plugin", "moment_plugin.py", "--data", "moment-data"]
    call += ["--class", "red,green", "--methods", "moment", "--controls", "", "--metrics", "digest,joint"]
    call += ["--threads", "1", "--samples", "8", "--seeds", str(seeds), "--out", run, *words]
    start = time.perf_counter()
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start


def speed(o: argparse.Namespace, folder: Path) -> None:
    os.environ["XCORE_WORK_ROUNDS"] = str(rounds(o.seconds))
    os.environ["XCORE_KILLS_LOG"] = str(folder / "log")
    taken: dict[str, list[float]] = {"local": [], "processes": []}
    own: dict[str, list[float]] = {"local": [], "processes": []}
    for i in range(o.repeats):
        for engine in taken:
            (folder / "log").unlink(missing_ok=True)
            words = ["--engine", engine, *(["--set", "processes.workers=2"] if engine == "processes" else [])]
            taken[engine].append(command(folder, f"{engine}-{i}", 4, *words))
            own[engine] += map(float, (folder / "log").read_text().split())
    same = table(folder / "local-0") == table(folder / "processes-0")
    print("| engine | wall seconds, start included | seconds in a cell's method |\n|---|---|---|")
    for engine, walls in taken.items():
        each = own[engine]
        print(f"| {engine} | {', '.join(f'{w:.1f}' for w in walls)} | {min(each):.1f} to {max(each):.1f} |")
    ratio = min(taken["processes"]) / min(taken["local"])
    print(f"\nprocesses / local: {ratio:.2f} (bar: 0.60); tables bit-equal: {same}")


def table(run: Path) -> Any:
    plain = json.loads((run / "table.json").read_text())

    def without_times(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_times(v) for k, v in value.items() if "seconds" not in k and k != "run"}
        return [without_times(v) for v in value] if isinstance(value, list) else value

    return without_times(plain)


def overhead(o: argparse.Namespace, folder: Path) -> None:
    os.environ["XCORE_WORK_ROUNDS"] = str(rounds(o.seconds))
    os.environ["XCORE_KILLS_LOG"] = str(folder / "log")
    from xcore.api import bench
    from xcore.base.memory import resident_mb
    from xcore.run.progress import Reporter
    from xcore.run.worker import Worker

    run_cell, score = Worker.run, Worker._judge
    spent = {"cells": 0.0, "metrics": 0.0}
    ends: list[float] = []
    memory: list[float] = []

    def timed_run(self: Worker, *given: Any) -> Any:
        began = time.perf_counter()
        ends.append(began)
        try:
            return run_cell(self, *given)
        finally:
            ends[-1] = time.perf_counter()
            if len(ends) == 1:
                spent["first"] = ends[-1]
            else:
                spent["cells"] += ends[-1] - began
            memory.append(resident_mb(os.getpid()))

    def timed_judge(self: Worker, *given: Any) -> Any:
        began = time.perf_counter()
        try:
            return score(self, *given)
        finally:
            spent["metrics"] += (time.perf_counter() - began) if len(ends) > 1 else 0.0

    Worker.run, Worker._judge = timed_run, timed_judge  # type: ignore[method-assign]
    keys: dict[str, Any] = {"data": "moment-data", "classes": ["red", "green"], "threads": 1, "budget": {"samples": 8}}
    keys |= {"seeds": list(range(o.cells // 2)), "controls": [], "metrics": ["digest"]}
    bench(["moment"], out=folder / "run", plugins=[plugin(folder)], reporter=Reporter(), **keys)
    methods = sum(list(map(float, (folder / "log").read_text().split()))[1:])
    own = methods + spent["metrics"]
    wall = ends[-1] - spent["first"]
    n = len(ends) - 1
    print(f"{n} cells after the first: {wall:.2f} s; methods {methods:.2f} s, metrics {spent['metrics']:.2f} s")
    print(f"loop, engine and progress files: {1000 * (wall - spent['cells']) / n:.2f} ms a cell, ", end="")
    print(f"{(wall - spent['cells']) / spent['cells']:.2%} of the cells (bar: 3 %)")
    more = f"{1000 * (wall - own) / n:.1f} ms a cell, {(wall - own) / own:.1%} of methods and metrics"
    print(f"with tasks, guards, records and pictures: {more}")
    print(f"memory of the process: {memory[19]:.0f} MB after 20 cells, {memory[-1]:.0f} MB after {len(memory)}")


def again(o: argparse.Namespace, folder: Path) -> None:
    os.environ["XCORE_WORK_ROUNDS"] = "1"
    os.environ["XCORE_KILLS_LOG"] = str(folder / "log")
    first = command(folder, "run", o.cells // 2)
    (folder / "log").unlink()
    walls: list[float] = []
    own: list[float] = []
    for _ in range(o.repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(command(folder, "run", o.cells // 2))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        own.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"{o.cells} cells, made in {first:.1f} s; the same command again:")
    for what, seconds in (("wall", walls), ("processor", own)):
        print(f"{what} seconds {', '.join(f'{each:.2f}' for each in seconds)}")
    if (folder / "log").exists():
        raise SystemExit("cells were computed again: the row is worth nothing")
    note("again", ours=median(walls))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "overhead", "again"))
    parser.add_argument("--seconds", type=float, help="what a cell takes; default: 12 for speed, 0.2 for overhead")
    parser.add_argument("--cells", type=int, default=200, help="of overhead and again")
    parser.add_argument("--repeats", type=int, default=1, help="of speed and again")
    o = parser.parse_args()
    o.seconds = o.seconds or {"speed": 12.0}.get(o.what, 0.2)
    with tempfile.TemporaryDirectory() as made:
        plugin(Path(made))
        print(f"`python benchmarks/engines.py {' '.join(sys.argv[1:])}`, {os.cpu_count()} cores\n")
        {"speed": speed, "overhead": overhead, "again": again}[o.what](o, Path(made))


if __name__ == "__main__":
    main()
