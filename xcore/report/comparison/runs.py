"""Runs as a comparison reads them: from their records, without computing or writing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xcore.base.errors import UsageError
from xcore.registry import Registry
from xcore.report.picture_paths import folders
from xcore.report.rows import ResultRow, metric_name, plan_infos, rows
from xcore.report.table import MetricInfo
from xcore.run.about import from_folder, load_files, read_about
from xcore.run.loop import Bench, known_identities
from xcore.run.plan import Plan
from xcore.run.plan_record import plan_from_record
from xcore.run.progress import Reporter
from xcore.store.run_directory import Store

OVERVIEWS = ("concepts.png", "marked.png")
"""The picture of an explanation that is shown beside that of another run: of images, and of text."""


@dataclass(frozen=True)
class RunRecords:
    """One run."""

    name: str
    """What it is called beside the others: the last parts of its path, as many as tell them apart."""
    path: Path
    about: Mapping[str, Any]
    """What run.json says."""
    plan: Plan
    rows: list[ResultRow]
    """As ``xcore bench --json`` prints them."""
    metrics: Mapping[str, MetricInfo]
    distributions: Mapping[str, str]
    """Metric -> the distribution that offers it; "" if it is not installed now."""
    roles: Mapping[str, tuple[str, ...]]
    """Metric -> the roles of the helper models that it uses."""
    pictures: Mapping[tuple[str, str, str, int], Path]
    """(classifier, class, label, seed) -> the picture of the first concepts."""
    missing: int
    """How many of its cells are not done."""
    remarks: tuple[str, ...] = ()
    """What could not be read, one line each."""


def read_runs(paths: list[Path], registry: Registry) -> list[RunRecords]:
    """Read the records of these runs.

    Raises
    ------
    UsageError
        One of them is no run, is damaged, or was written in a format that this xcore does not read.
    """
    return [_read(path, name, registry) for path, name in zip(paths, names(paths), strict=True)]


def names(paths: list[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    whole = [path.absolute().parts for path in paths]
    for depth in range(1, max(map(len, whole)) + 1):
        found = ["/".join(parts[-depth:]) for parts in whole]
        if len(set(found)) == len(found):
            return found
    raise UsageError("the same run is named twice", "name two different run directories")


class _Remarks(Reporter):
    """Keeps what is warned of, for the notes of the comparison."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


def _read(path: Path, name: str, registry: Registry) -> RunRecords:
    about, remarks = read_about(path), _Remarks()
    load_files(about["plugins"], registry, remarks)
    with from_folder(about):
        return _records(path, name, about, registry, remarks)


def _records(path: Path, name: str, about: Mapping[str, Any], registry: Registry, remarks: _Remarks) -> RunRecords:
    plan = plan_from_record(about["plan"])
    known = known_identities(path, remarks.warn)
    bench = Bench(plan, registry, Store(path, reading=True), remarks, identities=known)
    outcomes = [bench.outcome(cell, cached=True) for cell in plan.cells]
    made, metrics = rows(bench, outcomes, plan_infos(plan, registry))
    distributions, roles = {}, {}
    for metric in plan.metrics:
        own = metric_name(metric.text)
        try:
            distributions[own] = registry.find("metric", metric)[0].distribution
            roles[own] = registry.roles(metric, "metric")
        except UsageError:  # it was uninstalled since
            distributions[own], roles[own] = "", tuple({role for cell in plan.cells for role in cell.models})
    pictures: dict[tuple[str, str, str, int], Path] = {}
    for cell, folder in zip(plan.cells, folders(plan.cells), strict=True):
        places = [path / folder, *([record] if (record := bench.store.find(bench.identity(cell))) else [])]
        for file in (place / picture for place in places for picture in OVERVIEWS):
            if file.is_file():
                pictures.setdefault((cell.classifier.text, cell.cls, cell.label, cell.seed), file)
    return RunRecords(
        name=name,
        path=path,
        about=about,
        plan=plan,
        rows=made,
        metrics=metrics,
        distributions=distributions,
        roles=roles,
        pictures=pictures,
        missing=sum(outcome.status == "pending" for outcome in outcomes),
        remarks=tuple(remarks.lines),
    )
