"""The commands of `xcore`; the longer ones are in modules of their own. Each imports what it needs."""

from __future__ import annotations

import atexit
import gc
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import print_exception
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from xcore import __version__
from xcore.base.errors import UsageError, XcoreError
from xcore.base.memory import out_of_memory
from xcore.base.process import prepare
from xcore.base.streams import printable_output, results_apart
from xcore.base.tracing import is_traced
from xcore.cli import compare as comparing
from xcore.cli import new as creating
from xcore.cli import runs
from xcore.cli import view as viewing
from xcore.cli import watch as watching
from xcore.cli.commands import app_for
from xcore.cli.flags import (
    AddTo,
    BatchSize,
    Data,
    Device,
    DryRun,
    Group,
    Json,
    Judging,
    Plugin,
    Set,
    SplitName,
    Trackers,
    judging,
    names,
    parse_seeds,
    parse_settings,
    running,
    subject,
    takes,
    use_batch_size,
    use_device,
)
from xcore.cli.leaving import leaving_threads_behind
from xcore.cli.score import Scoring, add_nothing, remedy, scoring
from xcore.cli.signals import INTERRUPTED, by_signal, ending_like_an_interrupt, exit_code

if TYPE_CHECKING:
    from xcore.api import BenchResult

app = typer.Typer(
    help="Explanation methods for neural networks as plugins, compared honestly with one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
@takes(subject, judging, running)
def bench(
    about: dict[str, Any],
    asked: Judging,
    where: dict[str, Any],
    methods: Annotated[str | None, typer.Option(metavar="A,B", help="Methods to compare, comma-separated.")] = None,
    suite: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="Suite: data, classes, methods and settings, by name or as a TOML file."
        ),
    ] = "",
    metrics: Annotated[
        str | None, typer.Option(metavar="A,B", help="Metrics; default: those of the suite; '' = none.")
    ] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Explainers that explain nothing, as controls; default: the suite's; '' = none."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N|LIST", help="Number of seeds, or a list: 0,1,2.")] = "",
    threads: Annotated[int, typer.Option(min=0, max=512, help="torch threads inside a cell; 0 = all cores.")] = 0,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Recompute results made with other library versions, thread counts or devices."),
    ] = False,
    add_to: AddTo = "",
    tracker: Trackers = [],  # noqa: B006 (typer reads the default)
    dry_run: DryRun = False,
    as_json: Json = False,
    baselines: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compare methods: the table of TS, CS, ED, RCS, RED and more. Finished work is never computed again."""
    from xcore.api import bench as run
    from xcore.run.progress import for_stderr

    if baselines is not None:
        raise UsageError("--baselines is now called --controls", f"write --controls {baselines or repr('')}")
    if methods is not None and not names(methods):
        raise UsageError("--methods is empty", "name methods, e.g. --methods rlpo,craft; see `xcore list`")
    request = dict(
        suite=suite,
        strict=strict,
        metrics=None if metrics is None else names(metrics),
        controls=None if controls is None else names(controls),
        seeds=parse_seeds(seeds) if seeds else None,
        threads=threads or None,
        gates=asked.gates,
        add_to=add_to,
        trackers=tracker,
        **where,
        **about,
    )
    if dry_run:
        _show_forecast(names(methods or ""), request, as_json)
    else:
        _show(run(names(methods or ""), reporter=for_stderr(), compare=asked.compare, **request), as_json, asked)


@app.command()
@takes(subject)
def explain(
    about: dict[str, Any],
    method: Annotated[str, typer.Argument(help="Method, e.g. craft.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    metrics: Annotated[
        str, typer.Option(metavar="A,B", help="Metrics to score the explanation by, e.g. TS,RCS; default: none.")
    ] = "",
    split: SplitName = "",
    group: Group = "",
    texts: Annotated[
        int, typer.Option(min=0, max=20, help="How many explained texts to print, with highlighted words.")
    ] = 3,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make one explanation of one class: its concepts with their importance, and pictures of them."""
    from xcore.api import bench as run
    from xcore.base.files import slug
    from xcore.run.progress import for_stderr

    about["out"] = about["out"] or slug(f"{''.join(about['classes']) or 'explain'}-{method}")
    suite = "" if about["data"] else "default"
    request = dict(suite=suite, metrics=names(metrics), seeds=[seed], controls=[], split=split, group=group, **about)
    if dry_run:
        _show_forecast([method], request, as_json)
    else:
        result = run([method], reporter=for_stderr(phases=True), **request)
        _show(result, as_json, Judging(), texts=texts, concepts=True)


@app.command()
@takes(subject)
def doctor(
    about: dict[str, Any],
    methods: Annotated[str, typer.Option(metavar="A,B", help="Methods, comma-separated.")] = "",
    suite: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The suite whose data and models are looked for; default: default.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Say what is installed, on which machine, and which models a bench with these flags needs and lacks."""
    from xcore.cli.doctor import doctor as diagnose

    diagnose(names(methods), suite, about, as_json)


@app.command(name="list")
def list_(
    kind: Annotated[str, typer.Argument(help="List only this kind of component, e.g. explainers.")] = "",
    as_json: Json = False,
) -> None:
    """List everything that plugins offer."""
    from xcore.cli.listing import list_cards

    list_cards(kind, as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a component, as on `xcore list`.")],
    plugin: Plugin = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Show what a component does, needs and takes as options."""
    from xcore.cli.listing import show_component

    show_component(name, plugin, as_json)


@app.command()
def layers(
    classifier: Annotated[str, typer.Argument(metavar="REF", help="Classifier, e.g. timm:resnet50.")],
    data: Data = "",
    set_: Set = [],  # noqa: B006
    every: Annotated[bool, typer.Option("--every", help="Also the layers that a skip connection goes around.")] = False,
    plugin: Plugin = [],  # noqa: B006
    device: Device = "",
    batch_size: BatchSize = None,
    as_json: Json = False,
) -> None:
    """List the layers of a classifier: shape, sign, what lies above, and which one each method explains by default."""
    from xcore.cli.layers import show_layers

    use_device(device)
    use_batch_size(batch_size)
    show_layers(classifier, data, parse_settings(set_), plugin, every, as_json)


@app.command()
def plugins(
    strict: Annotated[
        bool, typer.Option("--strict", help="Leave with 1 if a plugin, a card or a name is not right.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the installed plugins: what each offers, why it failed to load, and which names two of them offer."""
    from xcore.cli.listing import list_plugins

    list_plugins(as_json, strict)


@app.command()
def advise(
    classifier: Annotated[
        str, typer.Option(metavar="REF", help="The classifier to explain; default: that of the data set.")
    ] = "",
    data: Annotated[str, typer.Option(metavar="REF", help="Data set, e.g. folder:DIR.")] = "minizoo",
    generator: Annotated[str, typer.Option(metavar="REF", help="Generator, e.g. hf:ORG/MODEL.")] = "",
    model: Annotated[
        list[str], typer.Option(metavar="ROLE=REF", help="Helper model that is there; may be repeated.")
    ] = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    plugin: Plugin = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Say which method answers which question about a classifier, with what is there, and what it gets wrong."""
    from xcore.cli.advise import show_advice
    from xcore.cli.flags import roles

    show_advice(classifier, data, generator, roles(model), parse_settings(set_), plugin, as_json)


@app.command()
def check(
    target: Annotated[
        str, typer.Argument(metavar="REF|PATH", help="A component, a plugin file, or the folder of a distribution.")
    ],
    kind: Annotated[str, typer.Option(metavar="KIND", help="Check only this kind of component, e.g. metric.")] = "",
    set_: Set = [],  # noqa: B006
    plugin: Plugin = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Check what a plugin offers: what is wrong, why it matters and how to mend it. Needs no pytest."""
    from xcore.cli.check import check_components

    check_components(target, kind, plugin, parse_settings(set_), as_json)


@app.command()
@takes(judging)
def report(
    asked: Judging,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory.")],
    table: Annotated[
        str, typer.Option("--format", metavar="F", help="md, csv, json, tex or parquet; default: terminal.")
    ] = "",
    html: Annotated[bool, typer.Option("--html", help="Write the page for the browser, and say where it is.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the whole traceback of each cell that failed instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the table of a finished run again, without computing anything, and judge it by its gates."""
    from xcore.api import report as rebuild
    from xcore.report import check_format
    from xcore.run.progress import for_stderr

    if (html and (table or as_json)) or (traceback and (html or table or as_json)):
        flag = "--traceback" if traceback else "--html"
        raise UsageError(f"{flag} cannot be combined with other forms of output", "use one of them")
    if table:
        check_format(table)  # before the work, which may take seconds
    result = rebuild(run, for_stderr(), gates=asked.gates, compare=asked.compare)
    if traceback:
        from xcore.cli.tracebacks import show_tracebacks

        show_tracebacks(result)
        return
    _show(result, as_json, asked, add_nothing(result), "html" if html else table)


@app.command()
@takes(scoring, judging)
def score(about: Scoring, asked: Judging, as_json: Json = False) -> None:
    """Add metrics to a finished run: only scores are computed, and no explanation is made again."""
    result = about.add(asked)
    _show(result, as_json, asked, remedy(result, _command()))


app.command()(comparing.compare)
app.add_typer(runs.app, name="runs", help=runs.HELP)
app.command()(watching.watch)
app.command()(viewing.view)
app.command()(creating.new)


def _show(
    result: BenchResult,
    as_json: bool,
    asked: Judging,
    remedy: str = "",
    format: str = "",
    texts: int = 0,
    concepts: bool = False,
) -> None:
    """Print a finished run, and leave with its exit code.

    `remedy` says how to try again, if not by this command; `concepts` = print one explanation rather than a table.
    """
    from xcore.ci.verdict import tally
    from xcore.cli.listing import print_line
    from xcore.report import PARQUET, render, show, show_concepts, write_parquet

    done = result.result
    if format == PARQUET:
        typer.echo(f"saved {write_parquet(result.table, result.path)}")
    elif format == "html":
        typer.echo(f"saved {viewing.page_of(result)}")
    elif format:
        typer.echo(render(result.table, format))
    elif as_json:
        for row in result.rows:
            print_line(row | _pictures_of(row, result.path))
        counts = {s: done.count(s) for s in ("ok", "failed", "skipped")} | {"cached": done.cached}
        if left := done.count("pending"):
            counts["pending"] = left
        from dataclasses import asdict

        judged = {"verdicts": [asdict(v) for v in result.verdicts]} if result.verdicts else {}
        print_line({"run": str(result.path), "cells": counts, "seconds": round(done.seconds, 3), **judged})
    else:
        if concepts or _of_one_method(result):
            show_concepts(result.table, result.rows, texts=texts)
        else:
            show(result.table)
        _tell_where(result)
    for verdict in result.verdicts:
        if verdict.status != "met":
            typer.echo(verdict.text, err=True)
    missed = any(v.fails for v in result.verdicts)
    if judged_in_all := tally(result.verdicts):
        more = f"; to see more: xcore report {result.path}" if missed else ""
        typer.echo(f"{judged_in_all}{more}", err=True)
    if result.broken:
        again = "to go on" if done.count("pending") else "to try them again"
        typer.echo(f"{result.broken}; {again}: {remedy or _command()}", err=True)
    asked.write(result)  # last: a file that cannot be written hides nothing of the above
    if missed or result.broken:
        raise typer.Exit(1)


def _pictures_of(row: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """The pictures that a row names, by their paths from the current folder."""
    from xcore.report.picture_paths import shown

    own = {"picture": row["picture"] and shown(run / row["picture"])}
    return own | ({"pictures": [shown(run / name) for name in row["pictures"]]} if "pictures" in row else {})


def _of_one_method(result: BenchResult) -> bool:
    """Whether a run compares nothing: one method and seed without metrics, as `xcore explain` makes it."""
    return len({(row["label"], row["seed"]) for row in result.rows}) == 1 and not result.table.metrics


def _show_forecast(methods: list[str], request: dict[str, Any], as_json: bool) -> None:
    """Print what a request would take, and leave nothing behind."""
    from xcore.cli.dry_run import forecast, show
    from xcore.run.progress import for_stderr

    with for_stderr() as reporter:
        made = forecast(methods, reporter=reporter, **request)
    show(made, as_json)


def _tell_where(result: BenchResult) -> None:
    """Say where the files of a run lie, by paths that can be typed; the pictures of each explanation if it is one."""
    from xcore.report import PAGE
    from xcore.report.picture_paths import SEVERAL, overviews, shown

    places = [("table", result.path / "table.md")]
    if (result.path / PAGE).is_file():
        places.append(("page", result.path / PAGE))
    if (result.path / SEVERAL) in {path.parent.parent for path in result.pictures}:
        places.append(("pictures", result.path / SEVERAL))
    else:
        places += [("pictures", path) for path in overviews(result.pictures)]
    made = [outcome for outcome in result.result.outcomes if outcome.status == "ok"]
    if len(result.result.outcomes) == len(made) == 1:
        places.append(("record", result.path / "explanations" / made[0].record))
    last = ""
    for what, path in places:
        typer.echo(f"{what if what != last else '':<9} {shown(path)}{'/' if path.is_dir() else ''}")
        last = what
    again = f"xcore report {shlex.quote(shown(result.path))}"
    typer.echo(f"{'again':<9} {again}")
    if result.result.count("failed"):
        typer.echo(f"{'why':<9} {again} --traceback")


def _command() -> str:
    return shlex.join(["xcore", *sys.argv[1:]])


def _version(value: bool) -> None:
    if value:
        typer.echo(f"xcore {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explanation methods for neural networks as plugins, compared honestly with one command."""


def main() -> None:
    """Run the command line; an error that a user can act on is one line and an exit code."""
    prepare()  # before anything imports torch
    atexit.register(gc.freeze)  # at its end, Python would look for cycles in all that was loaded, for seconds
    # What is printed may hold any character, such as a byte of a file name that is none; and only results go to stdout.
    with leaving_threads_behind(), ending_like_an_interrupt(), results_apart(), printable_output():
        _run()


def _run() -> None:
    try:
        try:
            app_for(app, sys.argv[1] if len(sys.argv) > 1 else "")()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a full disk is one line
    except XcoreError as error:
        _tell(error)
    except (RuntimeError, MemoryError) as error:
        if not (reason := out_of_memory(error)):
            _tell_of_plugin(error)
            raise
        typer.echo(f"xcore: {reason}", err=True)
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder that went away
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"xcore: {where}{error.strerror or error}; to go on: {_command()}", err=True)
        raise SystemExit(1) from None
    except Exception as error:
        _tell_of_plugin(error)
        raise
    except KeyboardInterrupt:
        _tell_interrupted()
        raise SystemExit(exit_code()) from None
    except SystemExit as left:  # typer turns Ctrl-C into this
        if left.code != INTERRUPTED:
            raise
        _tell_interrupted()
        raise SystemExit(exit_code()) from None


def _tell(error: XcoreError) -> NoReturn:
    """Print one line about an error, after its traceback if the user asks for all, and leave."""
    if is_traced():
        print_exception(error)
    typer.echo(f"xcore: {error}", err=True)
    raise SystemExit(error.exit_code) from None


def _tell_of_plugin(error: Exception) -> None:
    """Print one line and leave if an error arose in the code of a plugin; our own faults show their traceback."""
    from xcore.cli.tracebacks import plugin_error

    if told := plugin_error(error):
        told.__cause__ = error
        _tell(told)


def _tell_interrupted() -> None:
    typer.echo(f"interrupted{by_signal()}; to go on: {_command()}", err=True)
