"""`xcore --help`, `list` and `show` never import the heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
HEAVY = ("torch", "numpy", "pandas", "scipy", "sklearn", "PIL", "diffusers", "transformers")
PROBE = """
import sys
from xcore.cli.main import main
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
        words = ["show", "toy", "--plugin", str(TOY)]
    code = PROBE.format(words=words, heavy=HEAVY)
    cold = {**os.environ, "XCORE_CACHE": str(tmp_path)}  # no kept cards: every plugin is imported
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=cold)
    assert done.stdout.splitlines()[-1] == "HEAVY"
