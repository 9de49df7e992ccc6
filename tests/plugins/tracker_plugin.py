"""Trackers for tests: one that writes everything down, and some that misbehave."""

from __future__ import annotations

import json
import os
from pathlib import Path

from xcore import hookimpl


class Diary:
    """Writes a line an event into the file that the variable DIARY names."""

    def __init__(self, options: object) -> None:
        pass

    def _write(self, *about: object) -> None:
        with Path(os.environ["DIARY"]).open("a") as file:
            file.write(json.dumps(about) + "\n")

    def run_started(self, run: object) -> None:
        self._write("started", run.name, str(run.folder), run.cells, run.finished, len(run.plan["cells"]))

    def cell_ended(self, outcome: object) -> None:
        self._write("cell", outcome.cell.label, outcome.cell.seed, outcome.status)

    def table_ready(self, rows: object) -> None:
        self._write("table", len(rows))

    def close(self) -> None:
        self._write("close")


class Sick:
    """Fails where the variable TRACKER_FAILS says."""

    def __init__(self, options: object) -> None:
        self._fail("made")

    def _fail(self, where: str) -> None:
        os.chdir("/")
        wanted = os.environ["TRACKER_FAILS"]
        if wanted == where:
            raise ValueError("unwell")
        if wanted == "leaves" and where == "cell_ended":
            raise SystemExit("unwell")

    def run_started(self, run: object) -> None:
        self._fail("run_started")

    def cell_ended(self, outcome: object) -> None:
        self._fail("cell_ended")

    def table_ready(self, rows: object) -> None:
        self._fail("table_ready")

    def close(self) -> None:
        self._fail("close")


class Scribbler(Diary):
    """Changes everything that it is given."""

    def run_started(self, run: object) -> None:
        run.plan["cells"].clear()

    def cell_ended(self, outcome: object) -> None:
        object.__setattr__(outcome, "status", "failed")
        object.__setattr__(outcome.cell, "label", "scribble")

    def table_ready(self, rows: object) -> None:
        for row in rows:
            row["label"] = "scribble"
            row["scores"].clear()

    def close(self) -> None:
        pass


def lacking(options: object) -> object:
    from xcore.contract import MissingError

    raise MissingError("no such library", "pip install it")


@hookimpl
def register_trackers(register: object) -> None:
    register("diary", Diary, summary="writes a line an event")
    register("sick", Sick, summary="fails")
    register("scribbler", Scribbler, summary="changes what it is given")
    register("lacking", lacking, summary="needs what is not there")
