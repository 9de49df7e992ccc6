"""What a finished run showed, kept beside it, so that the same command shows it again without reading every record.

It is shown again only if nothing has changed: neither what is asked for, nor what is installed and the files behind it,
nor any file of the run, as its size and its time of modification tell. Otherwise the records are read, as ever.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.digests import digest, tree_digest
from xcore.base.errors import UsageError
from xcore.contract.types import Outcome
from xcore.report.bench_result import BenchResult
from xcore.report.build import build
from xcore.report.table import MetricInfo
from xcore.run.about import used
from xcore.run.loop import Result
from xcore.run.progress_files import LIVE
from xcore.store.environment import numerics
from xcore.store.records import Damaged, read_record, write_record
from xcore.store.run_directory import LOCK

if TYPE_CHECKING:
    from xcore.run.loop import Bench

FILE = "shown.json"
OTHERS = frozenset({FILE, LOCK, LIVE, "artifacts"})
"""What lies in a run directory and changes nothing that is shown."""
SHAPE = {
    "asked": str,
    "files": str,
    "rows": list[dict[str, Any]],
    "directions": dict[str, str],
    "outcomes": list[dict[str, Any]],
    "pictures": list[str],
}


def keep(loop: Bench, done: BenchResult, known: Mapping[str, MetricInfo]) -> None:
    """Keep what a run shows if all of it is done: cells that failed are tried again, and skipped ones judged again.

    `known` is what the cards say of the metrics.
    """
    whole = all(outcome.status == "ok" and not outcome.unscored for outcome in done.result.outcomes)
    path = loop.store.given / FILE
    if not whole or done.result.score_failures:
        path.unlink(missing_ok=True)
        return
    outcomes = [{"record": o.record, "seconds": o.seconds} for o in done.result.outcomes]
    write_record(
        path,
        {
            "asked": _asked(loop, known),
            "files": _files(loop.store.given),
            "rows": done.rows,
            "directions": {name: info.direction for name, info in done.table.metrics.items()},
            "outcomes": outcomes,
            "pictures": [path.relative_to(loop.store.given).as_posix() for path in done.pictures],
        },
        sync=False,
    )


def shown_before(loop: Bench, known: Mapping[str, MetricInfo]) -> BenchResult | None:
    """What the run showed, if that is what it would show now; None if it has to be looked at. `known` as of `keep`."""
    root = loop.store.given
    try:
        kept = read_record(root / FILE, SHAPE) if (root / FILE).is_file() else {}
    except (Damaged, UsageError):  # it is only a shortcut: the records say the same
        return None
    if not kept or kept["asked"] != _asked(loop, known) or kept["files"] != _files(root):
        return None
    cells = loop.plan.cells
    outcomes = [Outcome(cell, "ok", **about, cached=True) for cell, about in zip(cells, kept["outcomes"], strict=True)]
    rows = [{**row, "cached": True} for row in kept["rows"]]
    metrics = {
        name: replace(known.get(name, MetricInfo()), direction=side) for name, side in kept["directions"].items()
    }
    table = build(rows, metrics, header={"run": str(root)}, notes=loop.plan.notes)
    pictures = [root / name for name in kept["pictures"]]
    return BenchResult(table, rows, root, Result(outcomes), suite=loop.plan.name, pictures=pictures)


def _asked(loop: Bench, known: Mapping[str, MetricInfo]) -> str:
    """Digest of the plan, of all that identifies its components, and of the code that shows it."""
    identity = loop.workbench.identity
    components = [identity.component(kind, ref) for kind, ref in used(loop.plan, loop.workbench.registry)]
    shows = tree_digest(Path(__file__).parent, (".py", ".html", ".css", ".js"))
    return digest([loop.plan.as_plain(), components, numerics(loop.plan.threads), shows, repr(known)])


def _files(root: Path) -> str:
    """Digest of the names, sizes and times of modification of the files of a run."""
    found: list[tuple[str, int, int]] = []
    others, folders = OTHERS, [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name in others:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    stat = entry.stat()
                    found.append((entry.path, stat.st_size, stat.st_mtime_ns))
        others = frozenset()  # only in the run directory itself do these names say what a file is
    return digest(sorted(found))
