"""What a bench costs beside the methods and metrics it runs, and what a finished bench costs when it is run again.

    python benchmarks/perf/overhead.py
    python benchmarks/perf/overhead.py -- --methods craft --seeds 1

What follows ``--`` is for `xcore bench`. It runs in a process of its own, in a new run directory. Every wall second of
that process is counted once: in a method's `explain` or a metric's `score` with all that these call, or in the part of
the bench that is at work otherwise. Then the same command is run again, as a user would, and once more under the
counter, which tells what was loaded. Last, cells of a method that does nothing show the price of a cell.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from figures import note

HERE = Path(__file__).resolve().parent
OWN = ("explain", "score")
REST = "the loop, and imports"
START, MAKE, PLAN, TABLE, END = (
    "the interpreter's start",
    "things made",
    "plan made",
    "table built",
    "the interpreter's end",
)
ONCE = (START, MAKE, PLAN, TABLE, END)
"""Parts that do not grow with the cells; made are models, data sets, methods and metrics, with their imports."""
CALLS = (("explainer", "explain", "explain"), ("metric", "score", "score"), ("dataset", "samples", "samples drawn"))
LOCAL = ["--engine", "local"]
"""What other processes do is not counted here."""
NOTHING = [
    "--plugin",
    str(HERE / "nothing" / "nothing.py"),
    "--methods",
    "nothing",
    "--controls",
    "",
    "--metrics",
    "cost",
    *LOCAL,
]


class Counted:
    """Wall seconds by part: time belongs to the innermost part, but all of `explain` and `score` to themselves."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._stack, self._last = [REST], time.perf_counter()

    def _move(self, change: Callable[[], Any]) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._last
        self._last = now
        change()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._stack[-1] in OWN:
                return function(*args, **kwargs)
            self.calls[part] += 1
            self._move(lambda: self._stack.append(part))
            try:
                return function(*args, **kwargs)
            finally:
                self._move(self._stack.pop)

        object.__setattr__(owner, name, counted) if not isinstance(owner, type) else setattr(owner, name, counted)

    def close(self) -> dict[str, Any]:
        self._move(lambda: None)
        return {"seconds": dict(self.seconds), "calls": dict(self.calls)}


def child(out: str, started: float, command: list[str]) -> None:
    """Run `xcore` with everything counted, also the interpreter's start."""
    counted = Counted()
    counted.seconds[START] = time.time() - started
    from xcore import api
    from xcore.cli.main import main
    from xcore.registry import Registry
    from xcore.run.workbench import Workbench
    from xcore.store.run_directory import Store

    made: Counter[str] = Counter()
    create = Registry.create

    def created(self: Registry, kind: str, ref: Any) -> Any:
        made[kind] += 1
        component = create(self, kind, ref)
        for role, method, part in CALLS:
            if kind == role:
                counted.wrap(component, method, part)
        return component

    Registry.create = created  # type: ignore[method-assign]
    counted.wrap(Registry, "create", MAKE)  # around the function above
    for name in ("task", "run"):
        counted.wrap(Workbench, name, "tasks built")
    counted.wrap(Store, "write", "records and pictures written")
    counted.wrap(Store, "write_scores", "scores written")
    counted.wrap(Store, "load", "records read")
    counted.wrap(api, "make_plan", PLAN)
    counted.wrap(api, "_report", TABLE)
    sys.argv = ["xcore", *command]
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
    finally:
        names = ("torch", "diffusers", "transformers", "timm")
        loaded = [n for n in names if n in sys.modules]
        Path(out).write_text(json.dumps({**counted.close(), "made": dict(made), "modules": loaded}))


def run(command: list[str]) -> float:
    """Wall seconds of a process that has to end well."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} left with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def counted_run(command: list[str], folder: Path) -> tuple[float, dict[str, Any]]:
    out = folder / "counted.json"
    total = run([sys.executable, str(HERE / "overhead.py"), "--child", str(out), str(time.time()), *command])
    told = json.loads(out.read_text())
    told["seconds"][END] = total - sum(told["seconds"].values())
    return total, told


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], float(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", type=int, default=5, help="how often the finished bench is run again")
    parser.add_argument("--cells", type=int, default=100, help="cells that do nothing, beside as many tenths; 0 = none")
    parser.add_argument("arguments", nargs="*", help="of `xcore bench`")
    o = parser.parse_args()
    asked = o.arguments or ["--methods", "rlpo,craft"]
    threads = os.environ.get("OMP_NUM_THREADS", f"all {os.cpu_count()} cores'")
    print(f"`{' '.join(['python benchmarks/perf/overhead.py', *sys.argv[1:]])}`: wall seconds, {threads} threads\n")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        command = ["bench", *asked, *LOCAL, "--out", str(folder / "run")]
        first(command, folder)
        again(command, folder, o.again)
        if o.cells:
            nothing(folder, o.cells)


def first(command: list[str], folder: Path) -> None:
    total, told = counted_run(command, folder)
    seconds, calls = told["seconds"], told["calls"]
    own = sum(seconds.get(part, 0.0) for part in OWN)
    print(f"| xcore {' '.join(command[:-2])} | seconds | calls | share of the methods' and metrics' own |")
    print("|---|---|---|---|")
    for part, spent in sorted(seconds.items(), key=lambda item: (item[0] not in OWN, -item[1])):
        print(f"| {part} | {spent:.2f} | {calls.get(part, '')} | {spent / own:.1%} |")
    once = sum(seconds.get(part, 0.0) for part in ONCE)
    for what, spent in (("in all", total - own), ("once a run", once), ("of the cells", total - own - once)):
        print(f"| **overhead {what}** | {spent:.2f} | | {spent / own:.1%} |")
    print(f"| in all | {total:.2f} | | |\n")
    note("bench, in all", ours=total, floor=own)
    note("bench, its cells", ours=total - once, floor=own)


def again(command: list[str], folder: Path, runs: int) -> None:
    script = str(Path(sys.executable).parent / "xcore")
    taken = [run([sys.executable, script, *command]) for _ in range(runs)]
    _, told = counted_run(command, folder)
    heavy = {kind: n for kind, n in told["made"].items() if kind in ("classifier", "generator", "model", "explainer")}
    print(f"Run again: median {median(taken):.2f} s of {runs} ({min(taken):.2f} to {max(taken):.2f}); ", end="")
    print(f"made: {heavy or 'no model, no method'}; imported: {', '.join(told['modules']) or 'nothing heavy'}.\n")


def nothing(folder: Path, cells: int) -> None:
    few = max(1, cells // 10)
    commands = (["bench", *NOTHING, "--seeds", str(n), "--out", str(folder / f"nothing-{n}")] for n in (few, cells))
    (short, less), (long, more) = (counted_run(command, folder) for command in commands)
    grown = {part: s - less["seconds"].get(part, 0.0) for part, s in more["seconds"].items() if part not in ONCE}
    price = {part: 1000 * s / (cells - few) for part, s in grown.items()}
    print(f"A method that does nothing: {short:.2f} s for {few} cells, {long:.2f} s for {cells}; ", end="")
    ordered = sorted(price.items(), key=lambda item: -item[1])
    told = ", ".join(f"{part} {ms:.1f}" for part, ms in ordered if abs(ms) >= 0.05)
    print(f"{sum(price.values()):.0f} ms a cell ({told}).")


if __name__ == "__main__":
    main()
