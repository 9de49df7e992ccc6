"""`xcore compare`: what changed between runs."""

from __future__ import annotations

from typing import Annotated

import typer

from xcore.base.errors import UsageError, unknown
from xcore.cli.flags import Json

FORMATS = ("md", "html")


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="A B [C ...]", help="Run directories; A is the first.")],
    match: Annotated[
        list[str],
        typer.Option(metavar="OLD=NEW", help="Label or classifier of A, and what it is called in B. May be repeated."),
    ] = [],  # noqa: B006 (typer reads the default)
    accept: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Compare in spite of these: data, heldout, contrast, metric, metric-code, models.",
        ),
    ] = "",
    format: Annotated[
        str, typer.Option("--format", metavar="F", help="md (for a pull request) or html; default: terminal.")
    ] = "",
    fail_on: Annotated[
        str,
        typer.Option("--fail-on", metavar="worse", help="Leave with exit code 1 if something is worse or lost."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Compare runs: what is better, worse, or shows no difference, paired where they share classes and seeds."""
    if format and format not in FORMATS:
        raise unknown("format of a comparison", format, FORMATS)
    if format and as_json:
        raise UsageError("--format and --json cannot be combined", "use one of them")
    if fail_on and fail_on != "worse":
        raise unknown("verdict to fail on", fail_on, ["worse"])
    from xcore.cli.flags import names
    from xcore.cli.listing import print_line
    from xcore.report.comparison import compare as compared

    found = compared(*runs, match=_pairs(match), accept=names(accept))
    if as_json:
        print_line(found.as_plain())
    elif format:
        typer.echo(found.markdown() if format == "md" else found.html(), nl=format == "html")
    else:
        found.show()
    if fail_on and found.worse:
        for line in found.worse:
            what = f"{line.lost} value(s) lost" if line.verdict != "worse" and line.lost else line.verdict
            typer.echo(f"{line.label}.{line.name} on {line.classifier}: {what}", err=True)
        raise typer.Exit(1)


def _pairs(given: list[str]) -> dict[str, str]:
    found = {}
    for pair in given:
        old, equals, new = pair.partition("=")
        if not old or not equals or not new:
            raise UsageError(f"--match {pair!r} is not of the form OLD=NEW", "e.g. --match craft=craft-k25")
        found[old] = new
    return found
