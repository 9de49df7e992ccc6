"""The most memory that a command and all processes that it starts hold at a time: `python benchmarks/perf/memory.py`.

    python benchmarks/perf/memory.py                          # the default suite, `xcore bench --methods rlpo,craft`
    python benchmarks/perf/memory.py -- bench --methods craft # words of `xcore`

Every two seconds the memory of the command and of its descendants is added up, in two ways: *resident* counts a page
that two processes share in both of them, *proportional* divides it among them. Linux only. The command runs in a folder
of its own, with as many threads and workers as it takes by itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
INTERVAL = 2.0
"""Seconds; the system takes a tenth of one to say how pages are shared."""
BAR = 2048
"""MB that the default suite should not exceed."""


def descendants(process: int) -> list[int]:
    """A process and all that it started, as far as they still run."""
    found = [process]
    for parent in found:  # grows while it is read
        with suppress(OSError):
            for task in (PROC / str(parent) / "task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def megabytes(process: int) -> tuple[float, float]:
    """Resident and proportional memory of a process; nothing if it has just ended."""
    resident, proportional = 0, 0
    with suppress(OSError):
        for line in (PROC / str(process) / "smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            resident += int(rest.split()[0]) if name == "Rss" else 0
            proportional += int(rest.split()[0]) if name == "Pss" else 0
    return resident / 1024, proportional / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", default=["bench", "--methods", "rlpo,craft"], help="of `xcore`")
    words = parser.parse_args().words
    start, most = time.perf_counter(), {"resident": (0.0, 0.0, [0.0]), "proportional": (0.0, 0.0, [0.0])}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "error").open("w+") as error:
        command = [sys.executable, "-m", "xcore", *words]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=error)
        while process.poll() is None:
            each = [megabytes(number) for number in descendants(process.pid)]
            for kind, own in zip(most, zip(*each, strict=True), strict=True):
                if sum(own) > most[kind][0]:
                    most[kind] = sum(own), time.perf_counter() - start, sorted(own, reverse=True)
            time.sleep(INTERVAL)
        if process.returncode:
            error.seek(0)
            raise SystemExit(f"xcore {' '.join(words)} left with {process.returncode}:\n{error.read()[-2000:]}")
    print(f"`xcore {' '.join(words)}`: {time.perf_counter() - start:.0f} s\n")
    print("| memory | most at a time, MB | after s | of each process |\n|---|---|---|---|")
    for kind, (total, after, own) in most.items():
        print(f"| {kind} | {total:.0f} | {after:.0f} | {', '.join(f'{mb:.0f}' for mb in own if mb >= 1)} |")
    print(f"\nbar: {BAR} MB")


if __name__ == "__main__":
    main()
