"""What was asked of a run, what is there, and how much room it takes. Nothing is computed or written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xcore.base.errors import UsageError, XcoreError
from xcore.contract.types import Cell, Outcome, Ref
from xcore.registry import Registry
from xcore.run.about import from_folder, load_files, read_about
from xcore.run.loop import Bench, known_identities
from xcore.run.plan import Plan
from xcore.run.plan_record import plan_from_record
from xcore.run.progress import Reporter
from xcore.store.run_directory import PARTS, Store

STATUSES = {"ok": "ok", "failed": "failed", "skipped": "skipped", "pending": "not done"}
"""Status of a cell -> what people read."""
PICTURES = ("pictures", "concepts")


@dataclass(frozen=True, eq=False)
class RunState:
    """One run."""

    path: Path
    about: Mapping[str, Any]
    """What run.json says."""
    plan: Plan
    loop: Bench
    """For looking up records; it must not be run."""

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What is there of each cell, in their order."""
        return [self.loop.outcome(cell, cached=True) for cell in self.plan.cells]

    @property
    def counts(self) -> dict[str, int]:
        """Status -> how many cells have it."""
        found = Counter(outcome.status for outcome in self.outcomes)
        return {status: found[status] for status in STATUSES}  # type: ignore[index]

    @property
    def written(self) -> float:
        """When the run was last started or amended, in seconds since 1970; 0 if run.json does not say."""
        return float(self.about.get("amended") or self.about.get("written") or 0)

    @cached_property
    def scored(self) -> list[tuple[Ref, list[Cell], str]]:
        """Each metric with each group of finished cells that it judges, and the identity of its scores.

        The identity is "" where it is not known any more, because what it depended on is gone.
        """
        return [
            (metric, cells, self._identity(metric, cells))
            for metric in self.plan.metrics
            for cells in self.loop.groups(self.loop.across(metric))
        ]

    def _identity(self, metric: Ref, cells: list[Cell]) -> str:
        try:
            return self.loop.score_identity(metric, cells)
        except XcoreError:
            return ""

    def score_counts(self) -> dict[str, tuple[int, int]]:
        """Metric -> (how many groups of explanations have scores, how many should)."""
        store, found = self.loop.store, {metric.text: (0, 0) for metric in self.plan.metrics}
        for metric, _, identity in self.scored:
            done, wanted = found[metric.text]
            there = bool(identity) and store.whole_scores(identity) is not None
            found[metric.text] = done + there, wanted + 1
        return found

    def sizes(self) -> dict[str, int]:
        """Part of the directory -> bytes: the parts of the store, pictures, and all other files."""
        found = {part: size(self.path / part) for part in PARTS}
        found["pictures"] = sum(size(self.path / name) for name in PICTURES)
        found["other files"] = size(self.path) - sum(found.values())
        return found


class Telling(Reporter):
    """Passes on what the user must see, and nothing else."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def warn(self, text: str) -> None:
        self._tell(text)


def read_run(path: Path, registry: Registry, tell: Callable[[str], None]) -> RunState:
    """Read what is there of a run.

    Raises
    ------
    UsageError
        It is no run directory, or run.json is damaged or was written by a newer version.
    """
    about, reporter = read_about(path), Telling(tell)
    load_files(about["plugins"], registry, reporter)
    with from_folder(about):
        plan = plan_from_record(about["plan"])
        known = known_identities(path, tell)
        return RunState(path, about, plan, Bench(plan, registry, Store(path, reading=True), reporter, identities=known))


def run_folders(folder: Path) -> list[Path]:
    """The run directories in a folder, at any depth; the folder itself if it is one.

    Raises
    ------
    UsageError
        There is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", "name a folder of runs; `xcore bench` writes to runs/")
    return sorted(_below(folder))


def _below(folder: Path) -> Iterator[Path]:
    if (folder / "run.json").is_file():
        yield folder
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # nobody may read it
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _below(Path(entry.path))


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if os.path.lexists(path) else 0
    total = 0
    for root, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:  # it went away meanwhile
                continue
    return total


def shown_size(count: int) -> str:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError  # the last unit takes everything


def distinct(values: Sequence[Any]) -> list[Any]:
    """The values, each once, in their order."""
    return list(dict.fromkeys(values))
