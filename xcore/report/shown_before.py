"""What a finished run showed, kept beside it, so that the same command shows it again without reading every record.

It is shown again only if nothing has changed: neither what is asked for, nor what is installed and the files behind it,
nor any file of the run, as its size and its time of modification tell. Otherwise the records are read, as ever.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.digests import digest, tree_digest
from xcore.base.errors import UsageError
from xcore.contract.types import Outcome
from xcore.report.bench_result import BenchResult
from xcore.report.build import build
from xcore.report.table import MetricInfo
from xcore.run.about import used
from xcore.run.progress_files import LIVE
from xcore.run.result import Result
from xcore.store.environment import numerics
from xcore.store.records import Damaged, read_record, write_record
from xcore.store.run_directory import LOCK

if TYPE_CHECKING:
    from xcore.run.plan import Plan
    from xcore.store.identity import Identity

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


class ShownBefore:
    """What a run showed, and whether that is what it would show now.

    Parameters
    ----------
    root
        The run directory.
    identity
        What the components of the plan are identified by, in this run as a whole.
    known
        What the cards say of the metrics.
    """

    def __init__(self, root: Path, plan: Plan, identity: Identity, known: Mapping[str, MetricInfo]) -> None:
        self._root, self._plan, self._identity, self._known = root, plan, identity, known

    def keep(self, done: BenchResult) -> None:
        """Keep what a run shows if all of it is done: failed cells are tried again, and skipped ones judged again."""
        whole = all(outcome.status == "ok" and not outcome.unscored for outcome in done.result.outcomes)
        path = self._root / FILE
        if not whole or done.result.score_failures:
            path.unlink(missing_ok=True)
            return
        outcomes = [{"record": o.record, "seconds": o.seconds} for o in done.result.outcomes]
        write_record(
            path,
            {
                "asked": self._asked,
                "files": _files(self._root),
                "rows": done.rows,
                "directions": {name: info.direction for name, info in done.table.metrics.items()},
                "outcomes": outcomes,
                "pictures": [path.relative_to(self._root).as_posix() for path in done.pictures],
            },
            sync=False,
            lines=True,
        )

    def result(self) -> BenchResult | None:
        """What the run showed, if that is what it would show now; None if it has to be looked at."""
        root = self._root
        try:
            kept = read_record(root / FILE, SHAPE) if (root / FILE).is_file() else {}
        except (Damaged, UsageError):  # it is only a shortcut: the records say the same
            return None
        if not kept or kept["asked"] != self._asked or kept["files"] != _files(root):
            return None
        told = zip(self._plan.cells, kept["outcomes"], strict=True)
        outcomes = [Outcome(cell, "ok", **about, cached=True) for cell, about in told]
        rows = [{**row, "cached": True} for row in kept["rows"]]
        infos = {name: self._known.get(name, MetricInfo()) for name in kept["directions"]}
        metrics = {name: replace(infos[name], direction=side) for name, side in kept["directions"].items()}
        table = build(rows, metrics, header={"run": str(root)}, notes=self._plan.notes)
        pictures = [root / name for name in kept["pictures"]]
        return BenchResult(table, rows, root, Result(outcomes), suite=self._plan.name, pictures=pictures)

    @cached_property
    def _asked(self) -> str:
        """Digest of the plan, of all that identifies its components, and of the code that shows it."""
        components = [self._identity.component(kind, ref) for kind, ref in used(self._plan, self._identity.registry)]
        shows = tree_digest(Path(__file__).parent, (".py", ".html", ".css", ".js"))
        return digest([self._plan.digest, components, numerics(self._plan.threads), shows, repr(self._known)])


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
