"""What every command of a plugin must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xcore.testing.checklist import Skipped, check, expect


@dataclass
class Commanding:
    """A command: its typer app, and the function that `xcore.NAME` calls."""

    name: str
    app: Any
    call: Callable[..., Any] | None = None


@check("command", why="`xcore NAME` calls it.", mend="Let the card's factory name a typer.Typer with a command.")
def it_is_a_typer_app_with_commands(subject: Commanding) -> None:
    """It is a typer app that has a command."""
    import typer

    expect(isinstance(subject.app, typer.Typer), f"it is a {type(subject.app).__name__}, not a typer.Typer")
    expect(subject.app.registered_commands or subject.app.registered_groups, "the app has no command")


@check(
    "command",
    why="People read the help before anything else.",
    mend="Give each command a docstring and each option a help text; import what is heavy inside the command.",
)
def its_help_can_be_read(subject: Commanding) -> None:
    """`xcore NAME --help` works and says what each of its commands does."""
    from typer.main import get_command
    from typer.testing import CliRunner

    done = CliRunner().invoke(subject.app, ["--help"], prog_name=f"xcore {subject.name}")
    expect(done.exit_code == 0, f"--help leaves with exit code {done.exit_code}: {done.output.strip()[-200:]}")
    made: Any = get_command(subject.app)
    for command in [made, *getattr(made, "commands", {}).values()]:
        groups = bool(getattr(command, "commands", None))
        expect(groups or (command.help or "").strip(), f"the command {command.name!r} has no help text")


@check("command", why="What a person types, a notebook calls.", mend="Let `call` name a function with a docstring.")
def its_function_can_be_called(subject: Commanding) -> None:
    """What `xcore.NAME` calls in Python is a function with a docstring."""
    if subject.call is None:
        raise Skipped("its card names no function for Python (call=)")
    expect(callable(subject.call), f"call names a {type(subject.call).__name__}, not a function")
    expect((subject.call.__doc__ or "").strip(), "the function that call names has no docstring")
