"""Every comparison of speed, one after another: `make perf`.

    python benchmarks/perf/everything.py                  # all rows; an hour or more on an idle machine
    python benchmarks/perf/everything.py --rows rlpo,eac  # some of them

Each row is a script of this folder, run in a process of its own on one thread, which prints its table: ours, the peer
or the plain way beside it, and the floor. A script that finds another result than its peer ends with an error: then its
row has failed, the others go on, and this command ends with an error, too. What is printed is kept in --out, with the
versions and the machine, so that it can be put beside later ones. The row craft needs craft-xai on PYTHONPATH,
the row lens xplique and TensorFlow, the row page Chromium.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS: Mapping[str, Sequence[str]] = {
    "startup": ("perf/startup.py", "--runs", "5"),
    "bench": ("perf/overhead.py",),
    "again": ("engines.py", "again", "--repeats", "5"),
    "resume": ("perf/resume.py",),
    "tcav": ("perf/tcav.py",),
    "captum": ("perf/tcav_captum.py",),
    "rlpo": ("perf/rlpo_step.py",),
    "craft": ("perf/craft.py",),
    "craft-importance": ("perf/craft_importance.py", "--part", "report"),
    "lens": ("perf/lens.py",),
    "eac": ("perf/eac.py",),
    "sentences": ("perf/sentences.py",),
    "metrics": ("perf/metrics.py",),
    "page": ("page_size.py",),
    "scaling": ("perf/scaling.py",),
}
"""Row -> script and its words."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--out", type=Path, default=Path("runs/perf.md"), help="file that keeps what is printed")
    asked = parser.parse_args()
    rows = asked.rows.split(",")
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; rows: {', '.join(ROWS)}")
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "captum", "numpy", "scikit-learn"))
    parts = [f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {platform.platform()}."]
    failed = []
    for row in rows:
        part, whole = _row(row)
        parts.append(part)
        print(part, flush=True)
        failed += [] if whole else [row]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text("\n\n".join(parts) + "\n")
    print(f"kept in {asked.out}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _row(row: str) -> tuple[str, bool]:
    """What a script printed, as a section of Markdown, and whether it came to its end."""
    script, *words = ROWS[row]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, str(HERE.parent / script), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = done.stdout.strip() or "It printed nothing."
    if done.returncode:
        said += f"\n\nFailed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'without a word'}"
    cost = f"{spent:.0f} s of processor time, {time.perf_counter() - start:.0f} s in all"
    return f"## {row}\n\n`python benchmarks/{' '.join((script, *words))}` ({cost})\n\n{said}", not done.returncode


if __name__ == "__main__":
    main()
