"""What stderr says while a command runs: a line for a cell, for its steps now and then, and for phases if asked."""

from __future__ import annotations

import pytest

from xcore.contract import Cell, Outcome, Ref
from xcore.run import progress
from xcore.run.progress import Lines

CELL = Cell("craft", Ref("craft"), Ref("c"), Ref("d"), "zebra", 0)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("phases", [False, True])
def test_lines(phases, clock, capsys):
    lines = Lines(phases)
    with lines:
        lines.note("loading c and d")
        lines.begin(1, 0)
        lines.begin_cell(CELL)
        for step in range(1, 25):
            clock[0] += 1.0
            lines.step(step, 24, "searching")
        lines.end_cell(Outcome(CELL, "ok", "", seconds=24.0))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        *(["loading c and d", "explaining craft  zebra  seed 0"] if phases else []),
        "craft  zebra  seed 0  step 10 of 24  searching",
        "craft  zebra  seed 0  step 20 of 24  searching",
        "[1/1] craft  zebra  seed 0  ok in 24.0 s",
    ]
