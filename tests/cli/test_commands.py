"""A call builds the commands that it needs and no others, and people see no difference."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from xcore.cli.commands import app_for
from xcore.cli.main import app
from xcore.registry import load_registry


def built(name: str) -> list[str]:
    command = typer.main.get_command(app_for(app, name))
    return list(getattr(command, "commands", {}))


@pytest.mark.parametrize("name", ["bench", "list", "runs"])
def test_a_command_is_built_alone(name: str) -> None:
    every = built("--version")
    assert built(name) == [name]
    assert len(every) > 10
    assert built("new") == every  # it refuses names that others have
    assert built("no-such") == every


def test_the_overview_says_what_it_would_say_with_all_options() -> None:
    whole = app_for(app, "no-such")
    for card in load_registry().cards("command"):
        whole.add_typer(typer.Typer(), name=card.name, help=card.summary)
    shown = CliRunner().invoke(app_for(app, "--help"), ["--help"]).output
    assert shown == CliRunner().invoke(whole, ["--help"]).output
    assert "\n  texplain" in shown


def test_commands_of_plugins_are_loaded_when_they_are_named() -> None:
    shown = CliRunner().invoke(app_for(app, "texplain"), ["texplain", "--help"]).output
    assert "caption" in shown
    assert "texplain" not in built("--version")
