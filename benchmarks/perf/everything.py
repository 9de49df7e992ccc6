"""Every comparison of speed, one after another: `make perf`.

    python benchmarks/perf/everything.py                  # all rows, about 50 minutes on an idle machine
    python benchmarks/perf/everything.py --rows rlpo,eac  # some of them

Each row is a script, run in a process of its own on one thread, which prints its table: ours, the peer or the plain way
beside it, and the floor. A script that finds another result than its peer ends with an error: then its row has failed,
the others go on, and this command ends with an error, too. The last table sums up what the scripts have noted, beside
the bars that we set ourselves; a bar that is missed is told and is no error. What is printed is kept in --out, with the
versions and the machine, so that it can be put beside later ones.

Where craft-xai (the row craft), xplique and TensorFlow (lens) or Chromium (page) are not there, the row says so and
measures what is ours. All of them are found on PYTHONPATH, too.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal

from figures import FIGURES, noted

from xcore.base.process import prepare

HERE = Path(__file__).resolve().parent
ROWS: Mapping[str, Sequence[str]] = {
    "startup": ("perf/startup.py", "--runs", "5"),
    "bench": ("perf/overhead.py", "--again", "3"),
    "again": ("engines.py", "again", "--repeats", "5"),
    "resume": ("perf/resume.py",),
    "tcav": ("perf/tcav.py", "--side", "112"),
    "captum": ("perf/tcav_captum.py",),
    "rlpo": ("perf/rlpo_step.py",),
    "craft": (
        *("perf/craft.py", "--images", "16", "--runs", "3", "--fits", "2", "--reference", "0"),
        *("--draws", "2"),
    ),
    "craft-importance": (
        *("perf/craft_importance.py", "--part", "report", "--only", "clean, default layer, horse"),
        *("--repeats", "12", "--points", "256"),
    ),
    "lens": ("perf/lens.py",),
    "eac": ("perf/eac.py",),
    "sentences": ("perf/sentences.py",),
    "metrics": ("perf/metrics.py",),
    "page": ("page_size.py",),
    "scaling": ("perf/scaling.py",),
}
"""Row -> script and its words."""


@dataclass(frozen=True)
class Bar:
    """What we had hoped for of a part of a row: at least so many times as fast as the peer, or at most so much."""

    figure: Literal["peer / ours", "ours / floor", "seconds"]
    value: float

    def __str__(self) -> str:
        at = "at least" if self.figure == "peer / ours" else "at most"
        return f"{self.figure} {at} {self.value:g}"

    def met(self, figures: Mapping[str, float]) -> str:
        """Whether the figures of a part meet it; a word for the table."""
        reached = figures[self.figure]
        if isnan(reached):
            return "not measured"
        enough = reached >= self.value if self.figure == "peer / ours" else reached <= self.value
        return "met" if enough else "missed"


BARS: Mapping[str, Bar] = {
    "captum": Bar("peer / ours", 15),
    "rlpo": Bar("peer / ours", 10),
    "rlpo, few steps": Bar("peer / ours", 10),
    "craft fit": Bar("ours / floor", 1.05),
    "craft importance": Bar("peer / ours", 5),
    "eac": Bar("peer / ours", 10),
    "tcav": Bar("ours / floor", 1.3),
    "sentences": Bar("ours / floor", 1.3),
    "metrics": Bar("ours / floor", 1.3),
    "bench, in all": Bar("ours / floor", 1.02),
    "bench, its cells": Bar("ours / floor", 1.02),
    "again": Bar("seconds", 0.6),
    "resume, given again": Bar("seconds", 5),
}
"""Part of a row, as scripts note it, -> its bar."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--out", type=Path, default=Path("runs/perf.md"), help="file that keeps what is printed")
    asked = parser.parse_args()
    rows = asked.rows.split(",")
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; rows: {', '.join(ROWS)}")
    prepare()  # peers keep freed memory, too, since scripts take over what is set here
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "captum", "numpy", "scikit-learn"))
    parts = [f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {platform.platform()}."]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    failed, figures, start = list[str](), list[dict[str, Any]](), time.perf_counter()
    for row in rows:
        part, whole, found = _row(row)
        parts.append(part)
        figures += found
        failed += [] if whole else [row]
        print(part, flush=True)
        asked.out.write_text("\n\n".join(parts) + "\n")  # after each row, since all of them take long
    parts.append(_summary(figures, failed, time.perf_counter() - start, all_rows=set(rows) == set(ROWS)))
    print(parts[-1])
    asked.out.write_text("\n\n".join(parts) + "\n")
    print(f"kept in {asked.out}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _row(row: str) -> tuple[str, bool, list[dict[str, Any]]]:
    """What a script printed, as a section of Markdown, whether it came to its end, and what it noted."""
    script, *words = ROWS[row]
    command = [sys.executable, str(HERE.parent / script), *words]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        said, complained, notes = (Path(folder) / name for name in ("out", "error", "notes"))
        with said.open("w") as out, complained.open("w") as error:
            process = subprocess.Popen(command, stdout=out, stderr=error, env={**os.environ, FIGURES: str(notes)})
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        text = said.read_text().strip() or "It printed nothing."
        reasons, found = complained.read_text().strip().splitlines(), list(noted(notes))
    if process.returncode:
        text += f"\n\nFailed: {reasons[-1] if reasons else 'without a word'}"
    # A script that lets the system forget the peak, to measure each way alone, notes what it was before.
    memory = max(usage.ru_maxrss / 1024, *(each["memory"] for each in found), 0.0)
    spent = f"{usage.ru_utime + usage.ru_stime:.0f} s of processor time, {time.perf_counter() - start:.0f} s in all"
    cost = f"{spent}, at most {memory:.0f} MB in one process"
    quoted = " ".join(f'"{word}"' if " " in word else word for word in (script, *words))
    return f"## {row}\n\n`python benchmarks/{quoted}` ({cost})\n\n{text}", not process.returncode, found


def _summary(found: Sequence[dict[str, Any]], failed: Sequence[str], seconds: float, *, all_rows: bool) -> str:
    """The last table: each part of each row, beside its bar."""
    lines = [
        f"## All rows\n\nIn all {seconds / 60:.0f} minutes.\n",
        "| | ours, s | ours / floor | peer / ours | bar | |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for each in found:
        ours, bar = each["ours"], BARS.get(each["part"])
        floor = each["floor"] or nan  # 0 where no network is asked
        figures = {"seconds": ours, "ours / floor": ours / floor, "peer / ours": each["peer"] / ours}
        shown = [
            "" if isnan(value) else f"{value:.{digits}f}"
            for value, digits in zip(figures.values(), (2, 2, 1), strict=True)
        ]
        told = f"{bar} | {bar.met(figures)}" if bar else " | "
        lines.append(f"| {each['part']} | {' | '.join(shown)} | {told} |")
    noted_parts = {each["part"] for each in found} if all_rows else BARS.keys()
    lines += [f"| {part} | | | | {bar} | not measured |" for part, bar in BARS.items() if part not in noted_parts]
    if failed:
        lines.append(f"\n**Failed**: {', '.join(failed)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
