"""What `xcore --help` and `xcore list` cost beside the libraries that they stand on, and what they import.

    python benchmarks/perf/startup.py

CPU seconds (user and system) of fresh processes, interleaved, medians; Python itself is in all of them. Bytecode is
kept, as it is for users, also where PYTHONDONTWRITEBYTECODE is set: else Python would compile ours each time. Imported
modules are counted from `-X importtime`. The last line is what each further plugin costs `xcore list`, measured with 30
empty plugins more; the cards of all are kept from a first run, as they are for a user.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from figures import note

NUMERICAL = {"captum", "diffusers", "matplotlib", "numpy", "pandas", "peft", "PIL", "safetensors", "scipy", "skimage"}
NUMERICAL |= {"sklearn", "stable_baselines3", "timm", "tokenizers", "torch", "torchvision", "transformers"}
SCRIPT = str(Path(sys.executable).parent / "xcore")
BASE = "import typer, rich, pluggy"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    f'python -c "{BASE}"': [sys.executable, "-c", BASE],
    "xcore --help": [sys.executable, SCRIPT, "--help"],
    "xcore list": [sys.executable, SCRIPT, "list"],
}


MORE = 30
PLUGIN = """
from xcore import hookimpl

@hookimpl
def register_explainers(register):
    register("empty-{i}", "empty_{i}:Nothing", summary="an empty plugin")
"""


def make_plugins(folder: Path) -> dict[str, str]:
    """Install empty plugins into a folder; the environment in which they are found."""
    for i in range(MORE):
        about = folder / f"xcore_empty_{i}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: xcore-empty-{i}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[xcore]\nempty{i} = empty_{i}\n")
        (about / "RECORD").write_text(f"empty_{i}.py,,\n")
        (folder / f"empty_{i}.py").write_text(PLUGIN.format(i=i))
    return {**os.environ, "PYTHONPATH": str(folder)}


def seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    """CPU seconds of a process and of those that it waited for."""
    environment = {**(environment or os.environ), "PYTHONDONTWRITEBYTECODE": ""}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} left with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def imported(command: list[str]) -> list[str]:
    """Names of the modules that a command imports."""
    told = subprocess.run([command[0], "-X", "importtime", *command[1:]], capture_output=True, text=True, check=True)
    lines = [line for line in told.stderr.splitlines() if line.startswith("import time:")]
    return [line.rpartition("|")[2].strip() for line in lines[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    if not Path(SCRIPT).is_file():
        raise SystemExit(f"{SCRIPT} is missing: install xcore for this interpreter")
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with TemporaryDirectory() as folder:
        more, listing = make_plugins(Path(folder)), COMMANDS["xcore list"]
        with_more = []
        for turn in range(runs + 1):
            for name, command in COMMANDS.items():
                spent = seconds(command)
                if turn:  # the first warms up the disk, and keeps the cards
                    taken[name].append(spent)
            spent = seconds(listing, more)
            if turn:
                with_more.append(spent)
    base = taken[list(COMMANDS)[1]]
    for name in list(COMMANDS)[2:]:
        note(name, ours=median(taken[name]), floor=median(base))
    print(f"`{' '.join(['python benchmarks/perf/startup.py', *sys.argv[1:]])}`: CPU seconds, medians of {runs} runs\n")
    print("| command | seconds | least to most | times the libraries | modules | numerical ones |")
    print("|---|---|---|---|---|---|")
    for name, command in COMMANDS.items():
        modules = imported(command)
        numerical = ", ".join(sorted({m.partition(".")[0] for m in modules} & NUMERICAL)) or "none"
        ratio = median(a / b for a, b in zip(taken[name], base, strict=True))
        spread = f"{min(taken[name]):.3f} to {max(taken[name]):.3f}"
        print(f"| `{name}` | {median(taken[name]):.3f} | {spread} | {ratio:.2f} | {len(modules)} | {numerical} |")
    each = median(b - a for a, b in zip(taken["xcore list"], with_more, strict=True)) / MORE
    print(f"\neach further plugin adds {1000 * each:.2f} ms to `xcore list` ({MORE} empty plugins)")


if __name__ == "__main__":
    main()
