"""What xcore tells its process: waiting threads sleep soon, freed memory is kept; unless the user chose otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from xcore.base.process import KEPT_USERS, SPIN_USERS

BENCH = """
import xcore
from xcore.contract import UsageError
try:
    xcore.bench(["no-such-method"])
except UsageError:
    pass
"""


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in (*SPIN_USERS, *KEPT_USERS)}
    call = [sys.executable, "-c", f"{code}\nimport os\nprint('spin', os.environ.get('GOMP_SPINCOUNT'))"]
    return subprocess.run(call, capture_output=True, text=True, check=True, env={**kept, **environ})


COMMAND = """
import sys
from xcore.cli.main import main
sys.argv = ["xcore", "--version"]
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("code", [COMMAND, BENCH], ids=["command", "bench"])
def test_threads_spin_shortly_unless_the_user_chose_otherwise(code):
    assert "spin 1000" in run(code).stdout
    assert "spin 7" in run(code, GOMP_SPINCOUNT="7").stdout
    assert "spin None" in run(code, OMP_WAIT_POLICY="ACTIVE").stdout


def test_bench_warns_where_it_is_too_late():
    done = run(f"import torch\n{BENCH}")
    assert "spin None" in done.stdout
    assert "set GOMP_SPINCOUNT=1000 before Python starts" in done.stderr
    assert "SPINCOUNT" not in run(f"import torch\n{BENCH}", OMP_WAIT_POLICY="PASSIVE").stderr


def test_what_xcore_itself_loads_first_is_in_time():
    done = run("""
import xcore
data, model = xcore.data("minizoo"), xcore.open("minizoo/clean")
xcore.explain("noise", model, data, target="zebra", n=4)
""")
    assert "spin 1000" in done.stdout
    assert "SPINCOUNT" not in done.stderr


CYCLE = """
class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("looked for")
cycle = Cycle()
"""


def test_a_command_ends_without_looking_for_cycles_in_all_that_was_loaded():
    assert "looked for" in run(CYCLE).stdout
    assert "looked for" not in run(COMMAND + CYCLE).stdout


FAULTS = """
import resource
kept = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (2**27)
    kept.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print("pages cleared", "again" if kept[-1] > 2**27 / 4096 / 2 else "once")
"""


def _pages(started_by: str, **environ: str) -> str:
    """What becomes of the pages of 128 MB in a process that a prepared one starts, or in that one itself."""
    started = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {FAULTS!r}], check=True)"
    code = f"{started_by}\n{FAULTS}\nsys.stdout.flush()\n{started}" if started_by else FAULTS
    return run(code, **environ).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the allocator of glibc is told")
def test_memory_that_is_freed_is_kept_for_the_next_tensors():
    assert _pages("").count("again") == 1  # what the allocator does by itself
    assert _pages(COMMAND).count("once") == 2
    assert _pages(COMMAND, MALLOC_TRIM_THRESHOLD_="131072").count("again") == 2
