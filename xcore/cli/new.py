"""`xcore new`: a distribution with one component that works, tests, a README and a workflow for GitHub.

The files are rendered from the templates beside this module. Each kind has its own component, its tests and, but for
commands, its options; the rest they share.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore import __version__
from xcore.base.errors import UsageError, unknown

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
PREFIX = "xcore-"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40
SHARED = {
    "pyproject.toml.jinja": "pyproject.toml",
    "readme.md.jinja": "README.md",
    "gitignore.jinja": ".gitignore",
    "workflow.yml.jinja": ".github/workflows/tests.yml",
    "init.py.jinja": "src/{package}/__init__.py",
    "plugin.py.jinja": "src/{package}/plugin.py",
}
"""Template -> the file that it makes."""
OWN = {
    "component.py.jinja": "src/{package}/{module}.py",
    "options.py.jinja": "src/{package}/options.py",
    "test.py.jinja": "tests/test_{module}.py",
}
"""The same for the templates of a kind; one without options has no template for them."""


@dataclass(frozen=True)
class Kind:
    """What differs between the distributions of two kinds, beside their templates."""

    title: str
    factory: str
    """Name of the class or function; ``{}`` is the component's name in capitals and small letters."""
    summary: str
    about: str
    run: str
    """The command that shows the component at work."""
    module: str
    requires: tuple[str, ...] = ()
    """Distributions whose components it builds on."""
    card: tuple[str, ...] = ()
    """Further lines of its card."""


KINDS = {
    "explainer": Kind(
        "method",
        "{}Explainer",
        "channels of a layer that raise the logit of the class above what other images give it",
        "A method for xcore: the concepts are channels, ranked by gradient times activation against other images.",
        "xcore bench --methods {name},craft --seeds 1",
        "method",
        card=('needs=("gradients",)',),
    ),
    "generator": Kind(
        "generator",
        "{}Generator",
        "striped, spotted and plain pictures from prompts that name a colour and a pattern",
        "A generator for xcore: it draws pictures from prompts, and needs no weights.",
        "xcore bench --methods rlpo --generator {name} --set rlpo.update=false --seeds 1",
        "generator",
    ),
    "classifier": Kind(
        "classifier",
        "classifier",
        "a small network for the painted world: filters that are drawn, and a layer that is solved for",
        "A classifier for xcore: a small network, made in seconds, that tells the classes of the painted world apart.",
        "xcore bench --methods craft --classifier {name} --seeds 1",
        "classifier",
        requires=("xcore-minizoo",),
    ),
    "metric": Kind(
        "metric",
        "{}Metric",
        "share of a concept's images that the classifier assigns to the class, beside the share by chance",
        "A metric for xcore: how often the classifier takes the images of a concept for images of the class.",
        "xcore bench --methods craft --metrics {name} --seeds 1",
        "metric",
    ),
    "dataset": Kind(
        "data set",
        "{}Dataset",
        "the painted world without its colours",
        "A data set for xcore: the painted world in grey. Does an explanation name a colour where there is none?",
        "xcore bench --methods craft --data {name} --class zebra --metrics CS",
        "dataset",
        requires=("xcore-minizoo",),
    ),
    "model": Kind(
        "helper model",
        "{}Model",
        "embeds images by their colours",
        "A helper model for xcore, of the role `image-embedder`: metrics such as RCS compare images by it.",
        "xcore bench --methods craft --metrics RCS --model image-embedder={name} --seeds 1",
        "model",
        card=('role="image-embedder"',),
    ),
    "engine": Kind(
        "engine",
        "{}Engine",
        "cells in rounds, so that a table fills up evenly",
        "An engine for xcore: it runs cells in rounds, first one seed of every class and method, then the next.",
        "xcore bench --methods craft --engine {name}",
        "engine",
    ),
    "command": Kind(
        "command",
        "app",
        "show which classes the classifier confuses a class with",
        "A command of xcore: which classes the classifier confuses a class with.",
        "xcore {name} --class zebra",
        "commands",
        requires=("xcore-minizoo", "xcore-metrics"),
    ),
}


def new(
    about: typer.Context,
    kind: Annotated[str, typer.Argument(help=f"What to make: {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(help="Its name, as `xcore list` will show it, e.g. my-method.")],
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Folder to write; default: xcore-NAME in the current folder.")
    ] = "",
) -> None:
    """Start a plugin: write a distribution with one component that works, its tests and a README."""
    own = getattr(about.find_root().command, "commands", {})
    folder, run = write(kind, name, out, own)
    files = sum(path.is_file() for path in folder.rglob("*"))
    typer.echo(f"wrote {folder} with {files} files; to install, test and run it:")
    typer.echo(f"pip install -e '{shown(folder)}[test]' && pytest {_quoted(folder)} && {run}")


def write(kind: str, name: str, out: str = "", commands: Collection[str] = ()) -> tuple[Path, str]:
    """Write a distribution.

    Parameters
    ----------
    commands
        Names of the commands of xcore itself, which no new one may take.

    Returns
    -------
    The folder, and the command that shows the component at work.

    Raises
    ------
    UsageError
        There is no such kind, the name cannot be used or is taken, or the folder has files already.
    """
    import tempfile  # late: every start of xcore reads this module

    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    short = check_name(name)
    check_free(kind, short, commands)
    folder = Path(out or PREFIX + short)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} is there already", "choose another folder with --out")
    values = _values(kind, short)
    # Rendered beside its place and moved there whole: a full disk leaves no half of a distribution.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".xcore-new-") as scratch:
        made = Path(scratch) / "made"
        _render(made, kind, values)
        if folder.is_dir():
            folder.rmdir()
        shutil.move(made, folder)
    return folder, values["run"]


def check_name(name: str) -> str:
    """The name of a component without the prefix of distributions; raises `UsageError` if it cannot be used."""
    short = name.removeprefix(PREFIX)
    if NAME.fullmatch(short) and len(short) <= LONGEST:
        return short
    near = re.sub(r"[^a-z0-9]+", "-", short.lower()).strip("-0123456789")[:LONGEST].strip("-")
    rules = f"small letters, digits and single hyphens, a letter first, at most {LONGEST} characters"
    raise UsageError(f"{name!r} cannot be a name: a name has {rules}", f"for example {near!r}" if near else "")


def check_free(kind: str, short: str, commands: Collection[str] = ()) -> None:
    """Raise `UsageError` if something that is installed has the name of the component, distribution or package."""
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    from xcore.registry import load_registry

    card = next((c for c in load_registry().cards(kind) if c.name == short), None)
    if card is not None:
        raise UsageError(f"the {KINDS[kind].title} {short!r} is installed, from {card.distribution}", _ANOTHER)
    if kind == "command" and short in commands:
        raise UsageError(f"xcore has a command {short!r} of its own", _ANOTHER)
    try:
        version(PREFIX + short)
    except PackageNotFoundError:
        if find_spec(_package(short)) is None:
            return
        raise UsageError(f"a package {_package(short)!r} is there already", _ANOTHER) from None
    raise UsageError(f"the distribution {PREFIX + short} is installed", _ANOTHER)


_ANOTHER = "choose another name"


def _package(short: str) -> str:
    return (PREFIX + short).replace("-", "_")


def _values(kind: str, short: str) -> dict[str, Any]:
    """What the templates write."""
    about = KINDS[kind]
    camel = "".join(part.capitalize() for part in short.split("-"))
    has_options = (TEMPLATES / kind / "options.py.jinja").is_file()
    vowel = about.title[0] in "aeiou"
    return {
        "kind": kind,
        "name": short,
        "distribution": PREFIX + short,
        "package": _package(short),
        "module": about.module,
        "title": about.title,
        "a_title": f"{'an' if vowel else 'a'} {about.title}",
        "factory": about.factory.format(camel),
        "options": f"{camel}Options" if has_options else "",
        "summary": about.summary,
        "about": about.about,
        "run": about.run.format(name=short),
        "requires": about.requires,
        "card": about.card,
        "xcore_version": ".".join(__version__.split(".")[:2]),
    }


def _render(folder: Path, kind: str, values: dict[str, Any]) -> None:
    templates = _environment()
    own = {f"{kind}/{name}": place for name, place in OWN.items() if (TEMPLATES / kind / name).is_file()}
    for template, place in {**SHARED, **own}.items():
        path = folder / place.format_map(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(templates.get_template(template).render(values), encoding="utf-8")
    (folder / "src" / values["package"] / "py.typed").touch()


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # what is rendered is code
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def shown(folder: Path) -> str:
    """A folder as pip takes it: a name without a slash would be one of the package index."""
    return str(folder) if folder.is_absolute() else f"./{folder.as_posix()}"


def _quoted(folder: Path) -> str:
    import shlex

    return shlex.quote(str(folder))
