"""`xcore view`: a folder of static pages over many runs, and `xcore report RUN --html`: the page of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcore.base.errors import UsageError

if TYPE_CHECKING:
    from xcore.api import BenchResult

Runs = Annotated[
    list[str], typer.Argument(metavar="RUNS...", help="Run directories, or folders that hold run directories.")
]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to write the pages to.")]


def view(runs: Runs, out: Out = "site") -> None:
    """Write static pages over many runs: an index, the page of each run, and a comparison with the first."""
    from xcore.api import report
    from xcore.report.site.overview import ViewedRun, compared, write_overview
    from xcore.run.about import read_about
    from xcore.run.progress import for_stderr

    folders = run_folders(runs)
    if any(Path(out).resolve() == folder.resolve() for folder in folders):
        raise UsageError(f"{out} is one of the runs", "choose another folder with --out")
    found = []
    for folder in folders:
        made = report(folder, for_stderr())
        done = made.result
        seconds = sum(outcome.seconds for outcome in done.outcomes)
        page = page_of(made).read_text(encoding="utf-8")
        found.append(
            ViewedRun(folder, made.table, read_about(folder), page, done.count("ok"), len(done.outcomes), seconds)
        )
    grids, unlike = compared(folders)
    index, *others = write_overview(found, Path(out), grids, unlike)
    typer.echo(f"saved {index}, with {len(others)} other pages")


def page_of(result: BenchResult) -> Path:
    """The page of a run that was just reported."""
    from xcore.report import PAGE

    path = result.path / PAGE
    if not path.is_file():
        raise UsageError(f"{path} could not be written", "copy the run to where you may write, and name the copy")
    return path


def run_folders(given: list[str]) -> list[Path]:
    """The run directories that are named, or lie directly in a folder that is named."""
    found: dict[Path, None] = {}
    for name in given:
        path = Path(name)
        if (path / "run.json").is_file():
            found[path] = None
            continue
        inside = sorted(p.parent for p in path.glob("*/run.json")) if path.is_dir() else []
        if not inside:
            raise UsageError(f"{name} is no run directory and holds none", "name folders that `xcore bench` wrote")
        found.update(dict.fromkeys(inside))
    return list(found)
