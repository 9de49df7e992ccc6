"""Cells and scores in trackio, which keeps them in its own folder (variable TRACKIO_DIR) or sends them to a Space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from xcore.contract import MissingError, Outcome, StartedRun
from xcore_trackio.options import TrackioOptions


class Trackio:
    """One run of trackio for each run directory; a bench that goes on continues it."""

    def __init__(self, options: TrackioOptions) -> None:
        try:
            import trackio
        except ImportError as error:
            raise MissingError(
                f"trackio cannot be imported: {error}", "pip install 'xcore-trackio[trackio]'"
            ) from error
        self._trackio, self._options = trackio, options
        self._run: Any = None
        self._counts = {"ok": 0, "failed": 0, "skipped": 0}
        self._done = 0

    def run_started(self, run: StartedRun) -> None:
        """Open the run, with what was asked as its configuration."""
        self._done = run.finished
        self._run = self._trackio.init(
            self._options.project,
            name=self._options.name or run.folder.name,
            space_id=self._options.space or None,
            config=configuration(run),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def cell_ended(self, outcome: Outcome) -> None:
        """Log how many cells are done, and what this one took; a cell that failed is an alert."""
        self._done += 1
        self._counts[outcome.status] += 1
        self._run.log({"cells/done": self._done, **{f"cells/{name}": n for name, n in self._counts.items()}})
        self._run.log({f"seconds/{outcome.cell.label}": outcome.seconds})
        if outcome.status == "failed":
            cell = outcome.cell
            where = f"{cell.label}, {cell.cls}, seed {cell.seed}"
            self._run.alert("a cell failed", text=f"{where}: {outcome.reason}", level=self._trackio.AlertLevel.WARN)

    def table_ready(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log the mean of each metric for each method, and the scores of all concepts as a table."""
        if found := means(rows):
            self._run.log(found)
        if data := table(rows):
            self._run.log({"table": self._trackio.Table(data=data)})

    def close(self) -> None:
        """Write what is left."""
        if self._run is not None:
            self._trackio.finish()
            self._run = None


def configuration(run: StartedRun) -> dict[str, Any]:
    """What was asked, in a few lines."""
    cells = run.plan["cells"]

    def distinct(key: str) -> list[Any]:
        values = (cell[key]["text"] if isinstance(cell[key], Mapping) else cell[key] for cell in cells)
        return list(dict.fromkeys(values))

    return {
        "suite": run.name,
        "folder": str(run.folder),
        "cells": run.cells,
        "methods": distinct("label"),
        "classifiers": distinct("classifier"),
        "data": distinct("data"),
        "classes": distinct("cls"),
        "seeds": distinct("seed"),
        "metrics": [metric["text"] for metric in run.plan["metrics"]],
    }


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """``metric/label`` -> mean over classifiers, classes, seeds and concepts; scores without a value are left out."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, score in {**row["scores"], **row["overall"]}.items():
            if score["value"] is not None:
                found[f"{name}/{row['label']}"].append(score["value"])
    return {name: fmean(values) for name, values in found.items()}


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as trackio shows them: one a concept, a column a metric; every row has every column."""
    metrics = list(dict.fromkeys(name for row in rows for name in {**row["scores"], **row["overall"]}))
    shown = []
    for row in rows:
        scores = {**row["scores"], **row["overall"]}
        about = {key: row[key] for key in ("label", "classifier", "class", "seed", "rank", "concept", "status")}
        shown.append(about | {name: scores.get(name, {}).get("value") for name in metrics} | {"reason": row["reason"]})
    return shown
