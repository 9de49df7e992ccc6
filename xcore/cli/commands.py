"""Which commands a call needs. Typer builds each from its signature; all of them would cost as much as importing it."""

from __future__ import annotations

import inspect
from copy import copy

import typer
from typer.models import CommandInfo, TyperInfo


def app_for(app: typer.Typer, name: str) -> typer.Typer:
    """The app with the commands that a call needs, of the core and of plugins; the given one is left as it is.

    Parameters
    ----------
    app
        The commands of the core.
    name
        The first word of the command line. A command's name asks for this command alone: no plugin is loaded for one of
        the core. "" and "--help" ask for the overview, which shows no options. Any other word, such as a misspelt name,
        asks for all commands of the core.
    """
    one = copy(app)
    own = {*map(_name_of, app.registered_commands), *(group.name for group in app.registered_groups)}
    if name in own and name != "new":  # which refuses the name of any command, so it must know all
        one.registered_commands = [info for info in app.registered_commands if _name_of(info) == name]
        one.registered_groups = [group for group in app.registered_groups if group.name == name]
    elif name in ("", "--help"):
        one.registered_commands = [_without_options(info) for info in app.registered_commands]
        one.registered_groups = [_without_commands(group) for group in app.registered_groups]
        _add_names_of_plugins(one)
    elif name not in own and not name.startswith("-"):
        one.registered_commands, one.registered_groups = [*app.registered_commands], [*app.registered_groups]
        _add_of_plugins(one, name)
    return one


def _name_of(info: CommandInfo) -> str:
    return info.name or (info.callback.__name__ if info.callback else "")


def _without_options(info: CommandInfo) -> CommandInfo:
    bare = copy(info)
    bare.name, bare.callback = _name_of(info), _nothing
    bare.help = info.help or inspect.getdoc(info.callback)
    return bare


def _nothing() -> None:
    pass


def _without_commands(group: TyperInfo) -> TyperInfo:
    bare = copy(group)
    bare.typer_instance = copy(group.typer_instance)
    if bare.typer_instance is not None:
        bare.typer_instance.registered_commands = []
    return bare


def _add_names_of_plugins(app: typer.Typer) -> None:
    from xcore.registry import load_registry

    for card in load_registry().cards("command"):
        app.add_typer(typer.Typer(), name=card.name, help=card.summary)


def _add_of_plugins(app: typer.Typer, name: str) -> None:
    """Add the plugins' commands of a name."""
    from xcore.registry import load_registry, resolve

    for card in load_registry().cards("command"):
        if card.name != name:
            continue
        commands = resolve(card.factory)
        alone = commands.registered_commands if not commands.registered_groups else []
        if len(alone) == 1 and not commands.registered_callback and alone[0].callback:
            app.command(name=card.name)(alone[0].callback)
        else:
            app.add_typer(commands, name=card.name, help=card.summary)
