"""What `xcore --help` and `xcore list` cost beside the libraries that they stand on, and what they import.

    python benchmarks/perf/startup.py

CPU seconds (user and system) of fresh processes, interleaved, medians; Python itself is in all of them. Imported
modules are counted from `-X importtime`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

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


def seconds(command: list[str]) -> float:
    """CPU seconds of a process and of those that it waited for."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
    for turn in range(runs + 1):
        for name, command in COMMANDS.items():
            spent = seconds(command)
            if turn:  # the first warms up the disk
                taken[name].append(spent)
    base = taken[list(COMMANDS)[1]]
    print(f"`{' '.join(['python benchmarks/perf/startup.py', *sys.argv[1:]])}`: CPU seconds, medians of {runs} runs\n")
    print("| command | seconds | least to most | times the libraries | modules | numerical ones |")
    print("|---|---|---|---|---|---|")
    for name, command in COMMANDS.items():
        modules = imported(command)
        numerical = ", ".join(sorted({m.partition(".")[0] for m in modules} & NUMERICAL)) or "none"
        ratio = median(a / b for a, b in zip(taken[name], base, strict=True))
        spread = f"{min(taken[name]):.3f} to {max(taken[name]):.3f}"
        print(f"| `{name}` | {median(taken[name]):.3f} | {spread} | {ratio:.2f} | {len(modules)} | {numerical} |")


if __name__ == "__main__":
    main()
