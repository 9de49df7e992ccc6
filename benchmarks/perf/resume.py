"""A finished run of many cells that is given again, and the same run gone on with after one record was lost.

    python benchmarks/perf/resume.py                         # 10,000 cells: making them takes some ten minutes
    python benchmarks/perf/resume.py --cells 500,1000,2000   # how the seconds grow with the cells
    python benchmarks/perf/resume.py --keep runs/resume      # keep the runs, so that the next call need not make them

The cells do nothing (see nothing.py), so that all seconds are those of the bench. *Given again* is the same command
with nothing left to do, the median of --repeats; *one missing* is the same command after the record of one cell was
deleted; *shown from the records* is `xcore report`, which reads every one. A run that is kept is made anew in part or
as a whole when the code of xcore, or a script of this folder, has changed since.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from figures import note
from overhead import NOTHING

COMMON = ["--class", "zebra", "--threads", "1", "--samples", "4", "--data-seed", "0"]


def xcore(*words: str) -> tuple[float, float, str]:
    """Wall seconds and processor seconds of a command that has to end well, and what it said on the way."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "xcore", *words], capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def measured(cells: int, folder: Path, repeats: int) -> None:
    """Print the rows of a run of so many cells."""
    bench = ["bench", *NOTHING, *COMMON, "--seeds", ",".join(map(str, range(cells))), "--out", str(folder)]
    rows = {"made": [xcore(*bench)], "given again": [xcore(*bench) for _ in range(repeats)]}
    for _, _, said in rows["given again"]:
        if f"{cells} of {cells} cells are finished" not in said:
            raise SystemExit(f"a finished run was not given again: {said[-2000:]}")
    shutil.rmtree(min((folder / "explanations").iterdir()))
    rows["one missing"] = [xcore(*bench)]
    if f"{cells - 1} of {cells} cells are finished" not in rows["one missing"][0][2]:
        raise SystemExit(f"more than one cell was made again: {rows['one missing'][0][2][-2000:]}")
    rows["shown from the records"] = [xcore("report", str(folder))]
    for what, taken in rows.items():
        wall, own = median(each[0] for each in taken), median(each[1] for each in taken)
        note(f"resume, {what}", ours=wall)
        print(f"| {cells} | {what} | {wall:.2f} | {own:.2f} | {1000 * own / cells:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="10000", help="numbers of cells, comma-separated")
    parser.add_argument("--repeats", type=int, default=3, help="how often a finished run is given again")
    parser.add_argument("--keep", type=Path, help="folder that keeps the runs")
    o = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print("| cells | what | wall s | processor s | ms of processor time a cell |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        for cells in map(int, o.cells.split(",")):
            measured(cells, (o.keep or Path(made)) / str(cells), o.repeats)


if __name__ == "__main__":
    main()
