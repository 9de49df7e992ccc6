"""The door: `xcore bench | explain | list | show | plugins | report`. Every body imports late."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from xcore import __version__
from xcore.errors import UsageError, XcoreError

if TYPE_CHECKING:
    from xcore.api import BenchResult

app = typer.Typer(
    help="Explanation methods for neural networks as plugins, compared honestly with one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
INTERRUPTED = 130

Classifier = Annotated[str, typer.Option(metavar="REF", help="Classifier(s), e.g. timm:resnet50; comma-separated.")]
Data = Annotated[str, typer.Option(metavar="REF", help="Data set, e.g. folder:DIR.")]
Class = Annotated[str, typer.Option("--class", metavar="NAME", help="Class(es), comma-separated, or all.")]
Layer = Annotated[str, typer.Option(metavar="L", help="Layer as in named_modules(); default: the classifier's own.")]
Generator = Annotated[str, typer.Option(metavar="REF", help="Generator, e.g. hf:ORG/MODEL.")]
Contrast = Annotated[str, typer.Option(metavar="REF", help="Data set of the random sets; default: the same data.")]
Models = Annotated[list[str], typer.Option("--model", metavar="ROLE=REF", help="Helper model; may be repeated.")]
Set = Annotated[list[str], typer.Option("--set", metavar="NAME.OPTION=VALUE", help="Option; may be repeated.")]
Out = Annotated[str, typer.Option(metavar="DIR", help="Where to write.")]
Plugin = Annotated[list[str], typer.Option(metavar="FILE", help="Python file with a plugin; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")]
Device = Annotated[str, typer.Option(metavar="D", help="torch device of the models.")]
Threads = Annotated[int, typer.Option(min=0, max=512, help="torch threads inside a cell; 0 = all cores.")]


@app.command()
def bench(
    methods: Annotated[str | None, typer.Option(metavar="A,B", help="Methods to compare, comma-separated.")] = None,
    suite: Annotated[str, typer.Option(metavar="NAME|FILE", help="What to compare on.")] = "",
    classifier: Classifier = "",
    data: Data = "",
    cls: Class = "",
    layer: Layer = "",
    generator: Generator = "",
    contrast: Contrast = "",
    model: Models = [],  # noqa: B006 (typer reads the default)
    set_: Set = [],  # noqa: B006
    metrics: Annotated[str, typer.Option(metavar="A,B", help="Metrics; default: those of the suite.")] = "",
    baselines: Annotated[
        str | None, typer.Option(metavar="A,B", help="Floors and ceilings; default: the suite's; '' = none.")
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N|LIST", help="Number of seeds, or a list: 0,1,2.")] = "",
    samples: Annotated[int | None, typer.Option(min=1, help="Images of the class that methods see.")] = None,
    out: Out = "",
    plugin: Plugin = [],  # noqa: B006
    threads: Threads = 0,
    engine: Annotated[str, typer.Option(metavar="REF", help="Where cells are run; default: here.")] = "",
    device: Device = "",
    strict: Annotated[bool, typer.Option("--strict", help="Compute anew what other numerics made.")] = False,
    as_json: Json = False,
) -> None:
    """Compare methods: the table of TS, CS, ED, RCS, RED and more. Finished work is never computed again."""
    from xcore.api import bench as run
    from xcore.plan import parse_seeds, parse_settings
    from xcore.progress import for_stderr

    if methods is not None and not _names(methods):
        raise UsageError("--methods is empty", "name methods, e.g. --methods rlpo,craft; see `xcore list`")
    _use_device(device)
    result = run(
        _names(methods or ""),
        suite=suite,
        out=out,
        plugins=plugin,
        reporter=for_stderr(),
        strict=strict,
        classifiers=_names(classifier),
        data=data,
        classes=[cls] if cls else [],
        layer=layer,
        generator=generator,
        contrast=contrast,
        models=_roles(model),
        set=parse_settings(set_),
        metrics=_names(metrics),
        baselines=None if baselines is None else _names(baselines),
        seeds=parse_seeds(seeds) if seeds else None,
        budget={"samples": samples} if samples else None,
        threads=threads or None,
        engine=engine,
    )
    _show(result, as_json)


@app.command()
def explain(
    method: Annotated[str, typer.Argument(help="Method, e.g. craft.")],
    classifier: Classifier = "",
    data: Data = "",
    cls: Class = "",
    layer: Layer = "",
    generator: Generator = "",
    contrast: Contrast = "",
    model: Models = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    samples: Annotated[int | None, typer.Option(min=1, help="Images of the class that the method sees.")] = None,
    out: Out = "",
    plugin: Plugin = [],  # noqa: B006
    device: Device = "",
    as_json: Json = False,
) -> None:
    """Make one explanation of one class, with its pictures, and score it."""
    from xcore.api import bench as run
    from xcore.plan import parse_settings
    from xcore.progress import for_stderr
    from xcore.store import slug

    _use_device(device)
    result = run(
        [method],
        suite="" if data else "default",
        out=out or slug(f"{cls or 'explain'}-{method}"),
        plugins=plugin,
        reporter=for_stderr(),
        classifiers=_names(classifier),
        data=data,
        classes=[cls] if cls else [],
        layer=layer,
        generator=generator,
        contrast=contrast,
        models=_roles(model),
        set=parse_settings(set_),
        seeds=[seed],
        baselines=[],
        budget={"samples": samples} if samples else None,
    )
    _show(result, as_json)


@app.command(name="list")
def list_(
    kind: Annotated[str, typer.Argument(help="Only this kind, e.g. explainers.")] = "", as_json: Json = False
) -> None:
    """List everything that plugins offer."""
    from xcore.listing import list_cards

    list_cards(kind, as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a component, as on `xcore list`.")],
    plugin: Plugin = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Show what a component does, needs and takes as options."""
    from xcore.listing import show_component

    show_component(name, plugin, as_json)


@app.command()
def plugins(as_json: Json = False) -> None:
    """List the plugins and what became of each."""
    from xcore.listing import list_plugins

    list_plugins(as_json)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory.")],
    table: Annotated[str, typer.Option("--format", metavar="F", help="md, csv, json or tex; default: terminal.")] = "",
    as_json: Json = False,
) -> None:
    """Rebuild and show the table of a run."""
    from xcore.api import report as rebuild
    from xcore.report import render

    result = rebuild(run)
    if table:
        typer.echo(render(result.table, table))
    else:
        _show(result, as_json, "run the command that made it again")


def _show(result: BenchResult, as_json: bool, remedy: str = "") -> None:
    """Print a finished run, and leave with its exit code; `remedy` says how to try again, if not by this command."""
    from xcore.listing import print_line
    from xcore.report import show

    done = result.result
    cells = {s: done.count(s) for s in ("ok", "failed", "skipped")}
    if as_json:
        for row in result.rows:
            print_line(row)
        counts = {**cells, "cached": done.cached}
        print_line({"run": str(result.path), "cells": counts, "seconds": round(done.seconds, 3)})
    else:
        show(result.table)
        typer.echo(f"saved {result.path}/table.md  pictures {result.path}/explanations/  xcore report {result.path}")
    if cells["failed"] or done.score_failures:
        what = f"{cells['failed']} cell(s) failed, {len(done.score_failures)} score(s) failed"
        typer.echo(f"{what}; to try them again: {remedy or _command()}", err=True)
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _roles(pairs: list[str]) -> dict[str, str]:
    roles = {}
    for pair in pairs:
        role, equals, ref = pair.partition("=")
        if not equals or not role or not ref:
            raise UsageError(f"--model {pair!r} is not of the form ROLE=REF", "e.g. --model image-text=minizoo/clip")
        roles[role] = ref
    return roles


def _use_device(device: str) -> None:
    if device:
        from xcore.device import use

        use(device)


def _command() -> str:
    import shlex

    return shlex.join(["xcore", *sys.argv[1:]])


def _add_plugin_commands(name: str) -> None:
    """Add the plugins' subcommands, if `name` is none of ours: plugins are not loaded for nothing."""
    ours = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    if name and not name.startswith("-") and name not in ours:
        from xcore.registry import load_registry, resolve

        for card in load_registry().cards("command"):
            app.add_typer(resolve(card.factory), name=card.name, help=card.summary)


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
    try:
        _add_plugin_commands(sys.argv[1] if len(sys.argv) > 1 else "")
        app()
    except XcoreError as error:
        typer.echo(f"xcore: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except OSError as error:  # a full disk, a folder that went away
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"xcore: {where}{error.strerror or error}; to go on: {_command()}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        _tell_interrupted()
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as left:  # typer turns Ctrl-C into this
        if left.code == INTERRUPTED:
            _tell_interrupted()
        raise


def _tell_interrupted() -> None:
    typer.echo(f"interrupted; to go on: {_command()}", err=True)
