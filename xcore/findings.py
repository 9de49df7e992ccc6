"""Findings: what a command such as `xcore shift` found, kept whole or not at all, and shown as a table with pictures.

A finding is a folder ``<out>/findings/<command>.<hash>/`` with ``record.json`` (see `Finding`), ``table.csv``,
``table.md`` and its pictures. The hash is of what was asked, of the components and of the code behind it, so that the
same question is never computed twice, and an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.csv_files import csv_text
from xcore.base.errors import UsageError, XcoreError
from xcore.base.files import read_json, slug, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

    from xcore.report.layout import Grid

SCHEMA = 1
RECORD = "record.json"
KEYS = ("schema", "command", "about", "title", "columns", "rows", "notes", "pictures", "figures", "seconds")


@dataclass(frozen=True)
class Column:
    """One column of a finding's table.

    Attributes
    ----------
    name
        Key of the rows, and the head of the CSV file.
    head
        Head of the table for people.
    says
        What the figures are, in which unit.
    places
        Decimals of numbers; None = texts and whole numbers, as they are.
    shown
        Whether the tables for people have it; the files always do.
    """

    name: str
    head: str
    says: str
    places: int | None = None
    shown: bool = True


@dataclass(frozen=True)
class Found:
    """What a command found: one table, its pictures, and further figures. The first two columns are texts.

    Attributes
    ----------
    title
        What the table shows, as a heading.
    columns
        In their order.
    rows
        Column -> text, number, True, False or None, for each row; a number that is not finite is kept as None.
    notes
        What a reader must know, one line each.
    pictures
        File in the finding's folder -> its alternative text.
    figures
        Plain data beside the table, such as the points of a curve.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Finding:
    """A finding that is kept. A notebook shows its table and pictures.

    Attributes
    ----------
    command
        Name of the command that found it.
    about
        What was asked, as plain data.
    found
        The table, its pictures and notes.
    folder
        Where it is kept.
    seconds
        Wall-clock time that it took when it was made.
    cached
        Whether it was found by an earlier call.
    """

    command: str
    about: Mapping[str, Any]
    found: Found
    folder: Path
    seconds: float
    cached: bool = False

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """The rows of the table."""
        return self.found.rows

    @property
    def pictures(self) -> list[Path]:
        """The pictures, in the order in which they are shown."""
        return [self.folder / name for name in self.found.pictures]

    def to_pandas(self) -> pd.DataFrame:
        """The table as a frame with all columns, in full precision."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=[c.name for c in self.found.columns])

    def to_markdown(self) -> str:
        """The table and its notes as GitHub-flavoured Markdown."""
        from xcore.report.markup import grid_markdown

        return grid_markdown(grid(self.found)) + "\n"

    def show(self) -> None:
        """Print the table and its notes."""
        from xcore.report.terminal import show_grid

        show_grid(grid(self.found))

    def __repr__(self) -> str:
        return f"<{self.command}: {self.found.title}, {len(self.rows)} rows, in {self.folder}>"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _repr_html_(self) -> str:
        from xcore.report.notebook import finding_html

        return finding_html(grid(self.found), [(p, self.found.pictures[p.name]) for p in self.pictures])


class Findings(list[Finding]):
    """The findings of a command that asks about several classes, and what went wrong with the others."""

    def __init__(self, found: Iterable[Finding] = (), failed: Iterable[Failed] = ()) -> None:
        super().__init__(found)
        self.failed = list(failed)

    def add(self, other: Findings) -> None:
        """Take the findings and the failures of another command."""
        self.extend(other)
        self.failed.extend(other.failed)

    def fail(self, what: str, error: Exception) -> Failed:
        """Note that nothing is found of this class."""
        reason = str(error) if isinstance(error, XcoreError) else f"{type(error).__name__}: {error}"
        self.failed.append(Failed(what, " ".join(reason.split())))
        return self.failed[-1]


@dataclass(frozen=True)
class Failed:
    """A class of which a command found nothing.

    Attributes
    ----------
    what
        The class, as messages name it.
    reason
        Why, in one line.
    """

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} failed: {self.reason}"


def each(asked: Iterable[tuple[str, Callable[[], Finding]]], warn: Callable[[str], None]) -> Findings:
    """What is found of each class: one that fails is told, and the others go on.

    Parameters
    ----------
    asked
        What a class is called, and what finds it.
    warn
        Shows a line.

    Raises
    ------
    Exception
        That of the first class, if nothing is found of any.
    """
    found, first = Findings(), None
    for what, find in asked:
        try:
            found.append(find())
        except Exception as error:  # of one class, which must not lose the others
            first = first or error
            warn(str(found.fail(what, error)))
    if first is not None and not found:
        raise first
    return found


def keep(
    root: Path,
    command: str,
    about: Mapping[str, Any],
    identity: Mapping[str, Any],
    make: Callable[[Path], Found],
) -> Finding:
    """The finding of a command below a folder; ``make(folder)`` finds it if it is not there, and draws its pictures.

    Parameters
    ----------
    about
        What is asked, as plain data. With `identity` it is what the finding is found again by.
    identity
        What it depends on beside: digests of components and code.
    """
    from xcore.store.run_directory import Artifacts

    made = False

    def write(folder: Path) -> None:
        nonlocal made
        made, start = True, time.perf_counter()
        found = make(folder)
        if lacking := [name for name in found.pictures if not (folder / name).is_file()]:
            raise UsageError(f"{command} names a picture that it did not draw: {lacking[0]!r}")
        record = {"schema": SCHEMA, "command": command, "about": about, **_without_nan(asdict(found))}
        write_json(folder / RECORD, {**record, "seconds": time.perf_counter() - start})
        kept = read(folder)
        write_text(folder / "table.csv", to_csv(kept.found))
        write_text(folder / "table.md", kept.to_markdown())

    folder = Artifacts(root / "findings").get(command, {"schema": SCHEMA, "about": about, "identity": identity}, write)
    return read(folder, cached=not made)


def read(folder: Path, cached: bool = True) -> Finding:
    """The finding in a folder; raises `UsageError` if there is none, or it is damaged."""
    plain = read_json(folder / RECORD, KEYS)
    if plain["schema"] != SCHEMA:
        raise UsageError(f"{folder} was written by another version of xcore", "remove it and run the command again")
    found = Found(
        title=plain["title"],
        columns=tuple(Column(**column) for column in plain["columns"]),
        rows=tuple(plain["rows"]),
        notes=tuple(plain["notes"]),
        pictures=plain["pictures"],
        figures=plain["figures"],
    )
    return Finding(plain["command"], plain["about"], found, folder, plain["seconds"], cached)


def write_tables(out: Path, findings: Sequence[Finding]) -> list[Path]:
    """Write the tables of all findings of a call below one another: ``<command>.md`` and ``.csv`` in a folder.

    Raises
    ------
    UsageError
        The findings are of several commands.
    """
    if not findings:
        return []
    if len({f.command for f in findings}) > 1:
        raise UsageError("one table holds the findings of one command", "write those of each command by themselves")
    out.mkdir(parents=True, exist_ok=True)
    name = slug(findings[0].command)
    blocks = []
    for finding in findings:
        folder = finding.folder.relative_to(out) if finding.folder.is_relative_to(out) else finding.folder
        shown = [f"![{alt}]({folder / file})" for file, alt in finding.found.pictures.items()]
        blocks.append("\n\n".join([finding.to_markdown().rstrip(), *shown]))
    write_text(out / f"{name}.md", "\n\n".join(blocks) + "\n")
    columns = tuple({c.name: c for f in findings for c in f.found.columns}.values())
    rows = tuple(row for f in findings for row in f.rows)
    write_text(out / f"{name}.csv", to_csv(Found("", columns, rows)))
    return [out / f"{name}.md", out / f"{name}.csv"]


def _without_nan(value: Any) -> Any:
    """Plain data in which numbers that are none are None: JSON has no word for them."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def publish(findings: Sequence[Finding], out: Path, as_json: bool) -> None:
    """Print the findings of a command, or their rows as JSON, one object a line; write their tables; say where all is.

    With JSON only the rows are on stdout; notes and places are on stderr. It ends with the exit code 1 if the command
    failed for some classes (`Findings.failed`), after it has said why.
    """
    from xcore.cli.listing import print_line

    for finding in findings:
        if as_json:
            print("\n".join(finding.found.notes), file=sys.stderr)
            for row in finding.rows:
                print_line(dict(row))
        else:
            finding.show()
    for path in [*write_tables(out, findings), *(p for finding in findings for p in finding.pictures)]:
        print(f"saved {path}", file=sys.stderr if as_json else sys.stdout)
    if isinstance(findings, Findings):
        tell_failures(findings)


def tell_failures(findings: Findings) -> None:
    """Say on stderr for which classes a command failed, and leave with the exit code 1 if there are any."""
    if not findings.failed:
        return
    import typer

    for failed in findings.failed:
        print(failed, file=sys.stderr)
    print(f"{len(findings.failed)} failed; the same command tries what failed again", file=sys.stderr)
    raise typer.Exit(1)


def to_csv(found: Found) -> str:
    """All rows and columns in full precision, with a head."""
    return csv_text([c.name for c in found.columns], found.rows)


def grid(found: Found) -> Grid:
    """The table as strings in cells."""
    from xcore.report.layout import Grid, Line

    columns = [c for c in found.columns if c.shown]
    lines = tuple(Line(tuple(_cell(row.get(c.name), c.places) for c in columns)) for row in found.rows)
    says = "; ".join(f"{c.head}: {c.says}" for c in columns if c.says)
    notes = tuple(note for note in (says, *found.notes) if note)
    return Grid(found.title, tuple(c.head for c in columns), lines, notes)


def _cell(value: Any, places: int | None) -> str:
    from xcore.report.table import clean

    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if places is not None and isinstance(value, (int, float)):
        return f"{value:.{places}f}"
    return clean(value)
