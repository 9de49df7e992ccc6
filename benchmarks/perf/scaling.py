"""How cost and memory grow with what is asked for: `python benchmarks/perf/scaling.py`.

    python benchmarks/perf/scaling.py                      # everything
    python benchmarks/perf/scaling.py --what classes,cells # some of it

Each row is one command, run four times with a number that doubles: classes, seeds, images, concepts, random sets, cells
and pixels. Processor seconds and peak memory are those of the command's own process. What a command costs before any
work is in all four, so the *growth* looks at what each doubling adds: it is the exponent p of cost ~ a + b x^p by the
last two additions, p = log2((t4 - t3) / (t3 - t2)). 1 is linear, 0 would be nothing more to pay. Memory is told as
megabytes, and as what the last doubling added for each further unit.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log2, nan
from pathlib import Path

from figures import FIGURES
from overhead import NOTHING

HERE = Path(__file__).resolve().parent
XCORE = [sys.executable, "-m", "xcore"]
PHRASES = [
    *(f"{pattern} texture" for pattern in ("striped", "spotted", "plain", "patched", "checkered")),
    *("a horse", "a cat", "a fish", "a bird", "a dog", "grass", "water", "sand", "snow", "mud", "sky", "forest"),
    *(f"{colour} texture" for colour in ("black", "white", "orange", "yellow", "brown", "gray", "red", "pink")),
    *("blue texture", "green texture", "an apple", "a rock"),
]
TCAV = ["--data", "minizoo", "--classifier", "minizoo/clean", "--methods", "tcav"]
SMALL = ["--controls", "", "--metrics", "cost", "--set", "tcav.maps=0", "--set", "tcav.null=20", "--samples", "20"]
Command = Callable[[int], list[str]]


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds of user and system, and megabytes at its largest."""

    seconds: float
    memory: float


def bench(*words: str) -> list[str]:
    """A bench of TCAV on the painted world with few pictures."""
    return [*XCORE, "bench", *TCAV, *SMALL, "--threads", "1", *words]


def concepts(count: int) -> str:
    return f"tcav.concepts={','.join(PHRASES[:count])}"


ROWS: Mapping[str, tuple[tuple[int, ...], Command]] = {
    "classes": ((1, 2, 4, 8), lambda n: bench("--class", ",".join(known_classes()[:n]), "--set", concepts(8))),
    "seeds": ((1, 2, 4, 8), lambda n: bench("--class", "zebra", "--seeds", str(n), "--set", concepts(8))),
    "images": ((50, 100, 200, 400), lambda n: bench("--class", "zebra", "--samples", str(n), "--set", concepts(8))),
    "concepts": ((3, 6, 12, 24), lambda n: bench("--class", "zebra", "--set", concepts(n))),
    "random sets": (
        (100, 200, 400, 800),
        lambda n: bench("--class", "zebra", "--set", concepts(8), "--set", f"tcav.negatives={n}"),
    ),
    "cells": (
        (100, 200, 400, 800),
        lambda n: [
            *(*XCORE, "bench", *NOTHING, "--class", "zebra", "--samples", "4", "--data-seed", "0"),
            *("--seeds", str(n)),
        ],
    ),
    "pixels of a side": (
        (24, 48, 96, 192),
        lambda n: [sys.executable, str(HERE / "tcav.py"), "--concepts", "5", "--repeats", "1", "--side", str(n)],
    ),
}


def known_classes() -> list[str]:
    """The classes of the painted world that a classifier may be asked about."""
    from xcore_minizoo.world import CLASSES as named

    return list(named)


def spent(command: list[str]) -> Cost:
    """Run a command in a folder of its own, and say what it cost."""
    env = {name: value for name, value in os.environ.items() if name != FIGURES}  # what it notes is not of this row
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}\n{said.decode()}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def growth(seconds: list[float]) -> float:
    """The exponent by what the last two doublings added; nan where they added nothing that can be measured."""
    before, last = seconds[-2] - seconds[-3], seconds[-1] - seconds[-2]
    return log2(last / before) if before > 0 and last > 0 else nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default=",".join(ROWS), help="rows, separated by commas")
    asked = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    print("| number of | values | processor s | growth | memory, MB | MB for each more |")
    print("|---|---|---|---|---|---|")
    for name in asked.what.split(","):
        values, command = ROWS[name]
        costs = [spent(command(value)) for value in values]
        seconds = [cost.seconds for cost in costs]
        more = (costs[-1].memory - costs[-2].memory) / (values[-1] - values[-2])
        shown = [
            ", ".join(f"{x:.{digits}f}" for x in of) for of, digits in ((seconds, 1), ([c.memory for c in costs], 0))
        ]
        told = f"{', '.join(map(str, values))} | {shown[0]} | {growth(seconds):.2f} | {shown[1]} | {more:.2f}"
        print(f"| {name} | {told} |", flush=True)


if __name__ == "__main__":
    main()
