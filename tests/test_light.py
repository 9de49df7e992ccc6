"""`xcore --help`, `list` and `show` never import the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pandas", "scipy", "sklearn", "PIL", "diffusers", "transformers")
PROBE = """
import sys
from xcore.cli import main
sys.argv = ["xcore", *{words!r}]
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
print("HEAVY", *[m for m in {heavy!r} if m in sys.modules])
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["list", "--json"], ["plugins"], ["show", "toy"]], ids=" ".join
)
def test_nothing_heavy_is_imported(words, tmp_path):
    if words[0] == "show":
        words = ["show", "toy", "--plugin", str(__import__("pathlib").Path(__file__).parent / "toy_plugin.py")]
    code = PROBE.format(words=words, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY"


@pytest.mark.parametrize("first", ["xcore.bench", "xcore.explain"])
def test_bench_and_explain_are_functions_whichever_is_used_first_and_twice(first):
    code = f"import xcore; {first}; import xcore.bench as m; assert callable(xcore.bench) and callable(xcore.explain)"
    subprocess.run([sys.executable, "-c", code], check=True)
