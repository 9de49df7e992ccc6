"""What a run directory holds that its plan does not refer to: found, with sizes, and removed.

A plan refers to the explanations of its cells, to the scores of its metrics over them, and to the artifacts that either
asked for. Only what xcore wrote is ever removed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xcore.base.digests import digest
from xcore.base.errors import UsageError, XcoreError
from xcore.contract.types import Cell
from xcore.report.inventory.state import RunState, size
from xcore.run.progress_files import LIVE
from xcore.store.records import read_record
from xcore.store.run_directory import PARTS, RECORD

UNFINISHED = ".writing-"
"""What the names of files and folders begin with that are not finished."""
OLD = "no cell of the plan has it"
UNUSED = "nothing that the plan refers to used it"
STALE = "a process was stopped while it wrote it"


@dataclass(frozen=True)
class Leftover:
    """Something that can go."""

    path: Path
    kind: str
    """"explanation", "scores", "artifact" or "unfinished"."""
    reason: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Garbage:
    """All that can go of a run."""

    leftovers: Sequence[Leftover]
    notes: Sequence[str] = ()
    """What was kept though nobody may need it, and why."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(leftover.size for leftover in self.leftovers)


def find(run: RunState) -> Garbage:
    """What of a run its plan does not refer to."""
    explanations, kept = _explanations(run)
    scores, scored = _scores(run)
    artifacts, notes = _artifacts(run, [*kept, *scored])
    found = [*explanations, *scores, *artifacts, *_unfinished(run.path)]
    return Garbage([one for one in found if not one.path.is_symlink()], notes)


def remove(run: Path, garbage: Garbage) -> None:
    """Remove it. A folder is renamed first, so that a process that is killed leaves no half of a record.

    The caller keeps other processes from the run.
    """
    for leftover in garbage.leftovers:
        path = leftover.path
        try:
            if path.is_dir():
                gone = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
                path = path.rename(gone / path.name)
                shutil.rmtree(gone)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            hint = "make it writable, and run the command again"
            raise UsageError(f"cannot remove {leftover.path}: {error.strerror}", hint) from error
        if leftover.kind == "artifact":
            with suppress(OSError):
                leftover.path.with_name(f"{leftover.path.name}.lock").unlink(missing_ok=True)


def _explanations(run: RunState) -> tuple[list[Leftover], list[dict[str, Any]]]:
    """Records that no cell has, and the others as plain data."""
    wanted, unknown = set(), []
    for cell in run.plan.cells:
        try:
            wanted.add(run.loop.identity(cell))
        except XcoreError:  # it is not known any more what it was identified by
            unknown.append(_cell(asdict(cell)))
    leftovers, kept = [], []
    for path in sorted((run.path / "explanations").glob("[!.]*")):
        if not (path / RECORD).is_file():
            continue
        record = _read(path / RECORD)
        of_cell = _cell(record.get("cell") or {}) in unknown
        if path.name.rpartition(".")[2] in wanted or of_cell:
            kept.append(record)
        else:
            leftovers.append(Leftover(path, "explanation", OLD, size(path)))
    return leftovers, kept


def _cell(plain: Mapping[str, Any]) -> str:
    """A cell as a record holds it; what a field was before there was one counts as its default."""
    return digest({"split": Cell.split, "group": Cell.group, **plain})


def _scores(run: RunState) -> tuple[list[Leftover], list[dict[str, Any]]]:
    """Files of scores that the plan does not ask for, and the others as plain data."""
    wanted = {identity for _, _, identity in run.scored}
    unknown = {metric.text for metric, _, identity in run.scored if not identity}
    leftovers, kept = [], []
    for path in sorted((run.path / "scores").glob("[!.]*.json")):
        scores = _read(path)
        if path.stem in wanted or scores.get("metric") in unknown:
            kept.append(scores)
        elif "scores" in scores or not scores:
            leftovers.append(Leftover(path, "scores", "no metric of the plan over its explanations has it", size(path)))
    return leftovers, kept


def _artifacts(run: RunState, kept: Sequence[Mapping[str, Any]]) -> tuple[list[Leftover], list[str]]:
    """Artifacts that nothing used which is kept; none where that is not certain, and then a note."""
    there = [path for path in sorted((run.path / "artifacts").glob("[!.]*")) if (path / "key.json").is_file()]
    used = {name for about in kept for name in about.get("artifacts", ())}
    unused = [Leftover(path, "artifact", UNUSED, size(path)) for path in there if path.name not in used]
    counts = run.counts
    if not unused:
        return [], []
    several = f"{len(unused)} artifact{'' if len(unused) == 1 else 's'}"
    if open_cells := counts["pending"] + counts["failed"]:
        cells = f"{open_cells} cell{'' if open_cells == 1 else 's'}"
        return [], [f"{several} kept: {cells} that are not done or failed may use them"]
    if any("artifacts" not in about for about in kept):
        return [], [f"{several} kept: records of an older version do not tell which they used"]
    return unused, []


def _unfinished(root: Path) -> Iterator[Leftover]:
    for part in (*PARTS, LIVE, "."):
        for path in sorted((root / part).glob(f"{UNFINISHED}*")):
            yield Leftover(path, "unfinished", STALE, size(path))


def _read(path: Path) -> dict[str, Any]:
    """A record; nothing if it is damaged, so that it goes unless the plan refers to it."""
    try:
        return read_record(path)
    except UsageError:
        return {}
