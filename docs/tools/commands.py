"""Writes the pages of the commands, docs/reference/cli/*.md, from what `--help` reads: `make docs-commands`.

The commands are those of the core and of the plugins in this repository, so that other plugins of the machine leave no
trace. Width, colours and the environment of a terminal play no part: the texts come from the commands themselves.
`--check` writes nothing, and leaves with exit code 1 if a page is not as it would be written.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import typer

from xcore.cli.main import app
from xcore.registry import load_registry, resolve

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reference" / "cli"
SITE = ROOT / "zensical.toml"
NAV = re.compile(r"(# commands:.*?\n)(.*?)( *# end of commands)", re.DOTALL)
NOTE = "<!-- Written by `make docs-commands` from the texts of --help; do not edit. -->\n"


def all_commands() -> dict[str, Any]:
    """Name -> the command of click, of the core and of the plugins of this repository."""
    ours = {
        tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"]
        for path in ROOT.glob("plugins/*/*/pyproject.toml")
    }
    root: Any = typer.main.get_command(app)
    found = {name: command for name, command in root.commands.items() if _of_the_core(command)}
    for card in load_registry().cards("command"):
        if card.distribution in ours:
            command: Any = typer.main.get_command(resolve(card.factory))
            if hasattr(command, "commands"):
                command.help = card.summary
            found[card.name] = command
    return found


def _of_the_core(command: Any) -> bool:
    """Whether a command stands in the core: what ran before in this process may have added those of plugins."""
    callbacks = [c.callback for c in (command, *getattr(command, "commands", {}).values()) if c.callback]
    return any(callback.__module__.startswith("xcore.") for callback in callbacks)


def text(help: str | None) -> str:
    """A text of --help on one line of a table."""
    plain = " ".join((help or "").split())
    return re.sub(r"([|*_<>\[\]`\\])", r"\\\1", plain)


def shown(parameter: Any) -> str:
    """An option with its other names and what it takes."""
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name).upper().strip("[]")
        return f"`{name if parameter.required else f'[{name}]'}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return names
    takes = parameter.metavar or getattr(parameter.type, "name", "text").upper().removesuffix(" RANGE")
    return f"{names} `{takes.replace('|', '/')}`"


def default(parameter: Any) -> str:
    """What an option is if it is not given; "" if its text says so or there is nothing to say."""
    value = parameter.default
    if getattr(parameter, "is_flag", False) or value is None or callable(value) or isinstance(value, (list, tuple)):
        return ""
    return "" if str(value) in ("", "False") or "Sentinel" in repr(value) else f"`{value}`"


def described(name: str, command: Any, level: int) -> str:
    """The section of a command, and those of the commands below it."""
    lines = [f"{'#' * level} {name}", "", " ".join((command.help or "").split("\f")[0].split()), ""]
    below = getattr(command, "commands", {})
    given = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    words = [shown(p).strip("`") for p in given if p.param_type_name == "argument"]
    if below:
        words.append("COMMAND")
    usage = " ".join([name, *(["[OPTIONS]"] if any(p.param_type_name == "option" for p in given) else []), *words])
    lines += ["```text", usage, "```", ""]
    if given:
        lines += ["| | default | |", "|:--|:--|:--|"]
        lines += [f"| {shown(p)} | {default(p)} | {text(getattr(p, 'help', ''))} |" for p in given]
        lines.append("")
    lines += [described(f"{name} {n}", c, level + 1) for n, c in sorted(below.items()) if not c.hidden]
    return "\n".join(lines).rstrip("\n") + "\n"


def pages() -> dict[Path, str]:
    """Path -> what is to stand there: a page for each command, the list of all, and the site's list of pages."""
    commands = {name: c for name, c in sorted(all_commands().items()) if not c.hidden}
    index = [
        "# Commands",
        "",
        "`xcore COMMAND --help` prints the same in a terminal.",
        "",
        "| command | |",
        "|:--|:--|",
    ]
    index += [f"| [xcore {n}]({n}.md) | {text((c.help or '').split('.')[0])} |" for n, c in commands.items()]
    found = {PAGES / f"{n}.md": NOTE + "\n" + described(f"xcore {n}", c, 1) for n, c in commands.items()}
    found[PAGES / "index.md"] = NOTE + "\n" + "\n".join(index) + "\n"
    nav = "".join(f'      {{ "xcore {n}" = "reference/cli/{n}.md" }},\n' for n in commands)
    found[SITE] = NAV.sub(lambda m: m[1] + nav + m[3], SITE.read_text(encoding="utf-8"))
    return found


def stale(wanted: dict[Path, str]) -> list[str]:
    """The pages that are not as they would be written, and those of commands that are gone."""
    old = [p for p, text in wanted.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    return sorted(str(p.relative_to(ROOT)) for p in {*old, *(p for p in PAGES.glob("*.md") if p not in wanted)})


def main() -> None:
    """Write the pages, or say which are not up to date."""
    wanted = pages()
    changed = stale(wanted)
    if "--check" in sys.argv[1:]:
        if changed:
            raise SystemExit(f"not as the commands say: {', '.join(changed)}; to write them: make docs-commands")
        return
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in PAGES.glob("*.md"):
        if path not in wanted:
            path.unlink()
    for path, content in wanted.items():
        path.write_text(content, encoding="utf-8")
    print(f"{len(wanted)} files, {len(changed)} of them changed", file=sys.stderr)


if __name__ == "__main__":
    main()
