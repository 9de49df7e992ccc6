"""The commands on the pages about failures and trajectories are read by the commands that they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from xcore_acting import failures, trajectory

DOCS = Path(__file__).parents[4] / "docs"
COMMANDS = {"failures": failures.app, "trajectory": trajectory.app}


@pytest.mark.parametrize("page", ["failures.md", "trajectory.md"])
def test_the_commands_of_a_page_have_only_flags_that_there_are(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [shlex.split(line) for line in blocks.splitlines() if line.startswith("xcore ")]
    assert len(lines) >= 2
    for _, name, *words in lines:
        read = typer.main.get_command(COMMANDS[name]).make_context(name, words)
        assert read.params["data"].startswith("folder:") or read.params["cls"]
