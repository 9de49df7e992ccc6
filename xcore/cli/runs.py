"""`xcore runs`: list, show, gc, export. What to do with run directories after the run; nothing is computed."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.base.errors import UsageError, XcoreError
from xcore.cli.flags import Json
from xcore.cli.listing import print_line

if TYPE_CHECKING:
    from xcore.report.inventory.state import RunState

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
HELP = "List, show, tidy up and export runs."
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run directory.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run directories.")]
SHOWN = 10
"""Cells that are named of those that are not done."""


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _read(path: str) -> RunState:
    from xcore.registry import load_registry
    from xcore.report.inventory.state import read_run

    return read_run(Path(path), load_registry(), _tell)


# -- list --------------------------------------------------------------------------------------------------------------
@app.command(name="list")
def list_(
    folder: Annotated[str, typer.Argument(metavar="[FOLDER]", help="Folder of runs.")] = "runs",
    as_json: Json = False,
) -> None:
    """List the runs in a folder: suite, cells by how they ended, size and date."""
    from xcore.report.inventory.state import run_folders

    found = [_summary(path) for path in run_folders(Path(folder))]
    if as_json:
        for about in found:
            print_line(about)
        return
    if not found:
        _tell(f"no runs in {folder}")
        return
    columns = ("run", "suite", "cells", "ok", "failed", "skipped", "not done", "size", "date")
    rows = [columns, *(_words(about) for about in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        texts = (t.ljust(w) if i < 2 else t.rjust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
        typer.echo("  ".join(texts).rstrip())
    for about in found:
        if about["problem"]:
            _tell(f"{about['run']} cannot be read: {about['problem']}")


def _summary(path: Path) -> dict[str, Any]:
    from xcore.report.inventory.state import size

    about: dict[str, Any] = {"run": str(path), "suite": "", "cells": {}, "size": size(path), "written": None}
    try:
        run = _read(str(path))
        return {**about, "suite": run.plan.name, "cells": run.counts, "written": run.written, "problem": ""}
    except XcoreError as error:  # the other runs are listed all the same
        return {**about, "problem": str(error)}


def _words(about: Mapping[str, Any]) -> tuple[str, ...]:
    from xcore.report.inventory.state import shown_size
    from xcore.report.picture_paths import shown

    counts = list(about["cells"].values())
    cells = [str(sum(counts)), *map(str, counts)] if counts else ["?"] * 5
    return shown(Path(about["run"])), about["suite"] or "?", *cells, shown_size(about["size"]), _date(about["written"])


def _date(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "?"


# -- show --------------------------------------------------------------------------------------------------------------
@app.command()
def show(run: Run, as_json: Json = False) -> None:
    """Show a run: what was asked, what is there, what is not done, and how much room its parts take."""
    state = _read(run)
    about = _described(state)
    if as_json:
        print_line(about)
    else:
        typer.echo("\n".join(_as_words(about)))


def _described(run: RunState) -> dict[str, Any]:
    from xcore.report.inventory.garbage import find
    from xcore.report.inventory.state import distinct

    cells, suite = run.plan.cells, run.plan.suite
    open_cells = [
        {"label": o.cell.label, "classifier": o.cell.classifier.text, "class": o.cell.cls, "seed": o.cell.seed}
        | {"status": o.status, "reason": o.reason}
        for o in run.outcomes
        if o.status != "ok"
    ]
    labels = distinct([cell.label for cell in cells])
    by_label = {label: [o.status for o in run.outcomes if o.cell.label == label] for label in labels}
    return {
        "run": str(run.path),
        "suite": run.plan.name,
        "written": run.written,
        "asked": {
            "data": distinct([cell.data.text for cell in cells]),
            "classifiers": distinct([cell.classifier.text for cell in cells]),
            "methods": labels,
            "classes": distinct([cell.cls for cell in cells]),
            "seeds": distinct([cell.seed for cell in cells]),
            "metrics": [metric.text for metric in run.plan.metrics],
            "budget": suite.get("budget", {}),
            "gates": suite.get("gates", []),
        },
        "cells": run.counts,
        "methods": {
            label: {status: found.count(status) for status in dict.fromkeys(found)} for label, found in by_label.items()
        },
        "scores": {metric: {"there": n, "wanted": of} for metric, (n, of) in run.score_counts().items()},
        "open": open_cells,
        "sizes": run.sizes(),
        "garbage": find(run).size,
        "commit": run.about.get("git", {}),
    }


def _as_words(about: Mapping[str, Any]) -> list[str]:
    from xcore.report.inventory.state import STATUSES, shown_size

    asked, path = about["asked"], shlex.quote(about["run"])
    total = sum(about["cells"].values())
    state = ", ".join(f"{n} {STATUSES[status]}" for status, n in about["cells"].items() if n or status == "ok")
    budget = ", ".join(f"{n} {name}" for name, n in asked["budget"].items() if n is not None)
    out = [
        f"{about['run']}: suite {about['suite']}, {_date(about['written'])}",
        "",
        "asked",
        *(f"  {name:<12} {', '.join(map(str, asked[name]))}" for name in ("data", "classifiers", "methods", "classes")),
        *(f"  {name:<12} {', '.join(map(str, asked[name])) or 'none'}" for name in ("seeds", "metrics")),
        *([f"  {'budget':<12} {budget}"] if budget else []),
        *([f"  {'gates':<12} {'; '.join(asked['gates'])}"] if asked["gates"] else []),
        "",
        f"there: {state} of {total} cells",
    ]
    for label, found in about["methods"].items():
        out.append(f"  {label:<12} {', '.join(f'{n} {STATUSES[status]}' for status, n in found.items())}")
    for metric, n in about["scores"].items():
        out.append(f"  {metric:<12} scores of {n['there']} of {n['wanted']}")
    if about["open"]:
        out += ["", "not there"]
        for cell in about["open"][:SHOWN]:
            reason = f": {cell['reason']}" if cell["reason"] and cell["status"] != "pending" else ""
            where = f"{cell['label']}  {cell['class']}  seed {cell['seed']}"
            out.append(f"  {where}  {STATUSES[cell['status']]}{reason}")
        if more := len(about["open"]) - SHOWN:
            out += [f"  and {more} more; all with --json"] if more > 0 else []
    out += ["", f"room: {shown_size(sum(about['sizes'].values()))}"]
    out += [f"  {part:<12} {shown_size(n)}" for part, n in about["sizes"].items() if n]
    if about["garbage"]:
        out.append(f"  {shown_size(about['garbage'])} of it can go: xcore runs gc {path}")
    lacking = any(n["there"] < n["wanted"] for n in about["scores"].values())
    if about["cells"]["failed"] or about["cells"]["pending"] or lacking:
        out += ["", f"to go on: xcore bench --add-to {path}"]
    return out


# -- gc ----------------------------------------------------------------------------------------------------------------
@app.command()
def gc(
    runs: Runs,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what the plan of a run does not refer to: old explanations, scores and artifacts, and unfinished files."""
    from xcore.report.inventory.garbage import find, remove
    from xcore.store.run_directory import Store

    for path in map(Path, runs):  # all of them are runs before anything goes
        _read(str(path))
    for path in map(Path, runs):
        if dry_run:
            garbage = find(_read(str(path)))
        else:
            with Store(path).locked():
                garbage = find(_read(str(path)))
                remove(path, garbage)
        verb = "would be removed" if dry_run else "removed"
        _show_garbage(path, garbage.leftovers, garbage.notes, garbage.size, verb, as_json)


def _show_garbage(
    run: Path, leftovers: Sequence[Any], notes: Sequence[str], total: int, verb: str, as_json: bool
) -> None:
    from xcore.report.inventory.state import shown_size

    if as_json:
        found = [{"path": str(one.path), "kind": one.kind, "reason": one.reason, "size": one.size} for one in leftovers]
        print_line({"run": str(run), "removed": verb == "removed", "size": total, "files": found, "notes": list(notes)})
        return
    for one in leftovers:
        typer.echo(f"{shown_size(one.size):>8}  {one.kind:<11}  {one.path.relative_to(run)}  ({one.reason})")
    for note in notes:
        _tell(f"{run}: {note}")
    counts: dict[str, int] = {}
    for one in leftovers:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    what = ", ".join(
        f"{n} {kind}{'s' if n > 1 and kind in ('explanation', 'artifact') else ''}" for kind, n in counts.items()
    )
    typer.echo(f"{run}: {shown_size(total)} {verb} ({what})" if leftovers else f"{run}: nothing to remove")


# -- export ------------------------------------------------------------------------------------------------------------
@app.command()
def export(
    runs: Runs,
    to: Annotated[
        str, typer.Option(metavar="FILE", help="A .parquet or .csv file; default: scores.parquet in the run.")
    ] = "",
) -> None:
    """Write all scores of runs to one file, with one row an observation and its samples."""
    from xcore.report.comparison.runs import names
    from xcore.report.inventory.observations import check_target, observations, write
    from xcore.report.picture_paths import shown

    paths = [Path(run) for run in runs]
    if not to and len(paths) > 1:
        raise UsageError(
            "several runs go into one file, which is not named", "name it with --to, e.g. --to scores.parquet"
        )
    target = Path(to) if to else paths[0] / "scores.parquet"
    states = [_read(str(path)) for path in paths]
    check_target(target)
    rows = [row for run, name in zip(states, names(paths), strict=True) for row in observations(run, name)]
    write(rows, target)
    several = f" of {len(paths)} runs" if len(paths) > 1 else ""
    typer.echo(f"saved {len(rows)} observations{several} to {shown(target)}")
