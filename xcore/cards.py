"""Cards: what is known of components without importing them, and how it is kept between runs.

Cards of installed plugins are kept in a file, so that `xcore --help` and `xcore list` import no plugin. Kept cards are
used only while nothing changed: no distribution was installed, removed or replaced (seen by the folders that hold
distributions, and by each plugin's RECORD), and no file of an editable plugin was edited.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.files import cache_directory, write_text

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from xcore.contract.hooks import Fingerprint


GROUP = "xcore"
"""The group of entry points, and the name by which pluggy marks our hooks."""
FILE_MODULE = "xcore_file_"
"""What the name of the module of a plugin file begins with."""


@dataclass(frozen=True)
class Card:
    """What is known of a component without importing it. See `Register` for the fields."""

    kind: str
    name: str
    factory: Any
    summary: str
    distribution: str
    version: str
    options: str | None = None
    files: tuple[str, ...] = ()
    fingerprint: str | Fingerprint | None = None
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] | str = ()
    modalities: tuple[str, ...] = ("image",)
    role: str | tuple[str, ...] | None = None
    own_data: bool = False
    default: bool = False
    argument: str | None = None
    claims: str | None = None
    paper: str | None = None
    question: str | None = None
    limits: str = ""
    covers: tuple[str, ...] = ()
    measured: tuple[float, float] | None = None
    across: tuple[str, ...] = ()
    caveat: str = ""
    column: bool = True
    details: tuple[str, ...] = ()
    call: str | None = None

    @property
    def full_name(self) -> str:
        return f"{self.distribution}/{self.name}"

    @property
    def module(self) -> str:
        """The module in which its factory is defined."""
        target = self.factory
        while isinstance(target, partial):
            target = target.func
        name: str = target.partition(":")[0] if isinstance(target, str) else target.__module__
        return name

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that a model plays."""
        return (self.role,) if isinstance(self.role, str) else self.role or ()

    @property
    def shown(self) -> str:
        """The name as a reference is written, e.g. ``timm:MODEL``, or ``sam[:DIR]`` if the argument may be left out."""
        if self.argument and self.argument.startswith("["):
            return f"{self.name}[:{self.argument[1:]}"
        return f"{self.name}:{self.argument}" if self.argument else self.name


@dataclass(frozen=True)
class BadCard:
    """A card that was left out, and what is wrong with it."""

    kind: str
    name: str
    fault: str

    @property
    def text(self) -> str:
        return f"{self.kind} {self.name!r}: {self.fault}"


@dataclass
class PluginReport:
    """One plugin: its cards, or the reason why it failed to load."""

    name: str
    distribution: str
    version: str
    package: str = ""
    """The package that its entry point is in; empty for a plugin file."""
    cards: list[Card] = field(default_factory=list)
    bad: list[BadCard] = field(default_factory=list)
    """What it registered and is left out."""
    reason: str = ""
    to_load: bool = False
    """It was kept without its cards, as it failed before or names its parts by objects: it has to be loaded."""

    @property
    def ok(self) -> bool:
        return not self.reason


def environment_file(kind: str) -> Path:
    """The file in the cache folder that keeps what was read of one kind in this environment."""
    folders = "|".join([sys.prefix, *distribution_folders()])
    return cache_directory() / f"{kind}-{zlib.crc32(folders.encode()):08x}.json"


def distribution_folders() -> list[str]:
    """The folders of `sys.path` that hold distributions; the working directory seldom does."""
    folders = [path for path in sys.path if os.path.isdir(path)]
    return [path for path in folders if any(name.endswith("-info") for name in os.listdir(path))]


def kept_cards() -> list[PluginReport] | None:
    """The plugins of this environment as they were kept; None if anything changed since, or nothing was kept."""
    try:
        kept = json.loads(environment_file("cards").read_bytes())
        if kept["environment"] != environment():
            return None
        for plugin in kept["plugins"]:
            if _state(plugin["files"], plugin["record"]) != plugin["state"]:
                return None
        return [
            PluginReport(
                **{key: p[key] for key in ("name", "distribution", "version", "package", "to_load")},
                cards=[_card(card) for card in p["cards"]],
                bad=[BadCard(**bad) for bad in p["bad"]],
            )
            for p in kept["plugins"]
        ]
    except (OSError, ValueError, KeyError, TypeError):  # not there, cut off, or of another version of xcore
        return None


def keep_cards(plugins: Sequence[PluginReport], points: Sequence[EntryPoint], before: list[Any], began: int) -> None:
    """Keep the cards of plugins that loaded and name their parts by strings; the others are loaded by every run.

    Nothing is kept if anything changed while the plugins were loaded, which began at this time in this environment.
    """
    with contextlib.suppress(OSError, TypeError, ValueError):  # cards that cannot be kept cost time only
        kept = []
        for plugin, point in zip(plugins, points, strict=True):
            files, record = _files(point)
            if any(os.stat(path).st_mtime_ns >= began for path in files if path.endswith(".py")):
                return
            about: dict[str, Any] = {"name": plugin.name, "distribution": plugin.distribution}
            about |= {"version": plugin.version, "package": plugin.package}
            whole = plugin.ok and not any(callable(v) for card in plugin.cards for v in vars(card).values())
            cards, bad = (plugin.cards, plugin.bad) if whole else ([], [])
            about |= {
                "to_load": not whole,
                "cards": [asdict(card) for card in cards],
                "bad": [asdict(one) for one in bad],
            }
            kept.append({**about, "files": files, "record": record, "state": _state(files, record)})
        text = json.dumps({"environment": before, "plugins": kept})
        if before == environment():
            environment_file("cards").parent.mkdir(parents=True, exist_ok=True)
            write_text(environment_file("cards"), text)


def _card(plain: dict[str, Any]) -> Card:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    return Card(**fields)


READ_BY = ("cards.py", "registry.py", "contract/hooks.py", "loading/plugins.py", "loading/rules.py")
"""Modules of the core that decide which cards there are."""


def environment() -> list[Any]:
    """What changes when a distribution is installed or removed, or when the code that reads cards is edited."""
    core = Path(__file__).parent
    read_by = [os.stat(core / name).st_mtime_ns for name in READ_BY]
    return [sys.version, read_by, [os.stat(path).st_mtime_ns for path in distribution_folders()]]


def record_of(point: EntryPoint) -> str:
    """The path of the RECORD of a plugin's distribution; "" if it has none."""
    listed = next((f for f in getattr(point.dist, "files", None) or () if f.name == "RECORD"), None)
    return str(listed.locate()) if listed else ""


def sources_of(point: EntryPoint) -> tuple[list[Path], list[Path]]:
    """The folders of a plugin's package, if it is one, and its source files; nothing of it is imported for that.

    The finder of a package that is imported could run its code; that of the package on top never does.
    """
    spec = importlib.util.find_spec(point.module.partition(".")[0])
    folders = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    if spec and spec.origin and not folders:
        return [], [Path(spec.origin)]
    return folders, [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def _files(point: EntryPoint) -> tuple[list[str], str]:
    """The source files of a plugin whose edits are seen, and its RECORD; an installed plugin is known by its RECORD."""
    record = record_of(point)
    try:
        folders, sources = sources_of(point)
    except (ImportError, ValueError):  # it is not there, so it failed to load
        return [], record
    if point.dist is not None:
        about = json.loads(point.dist.read_text("direct_url.json") or "{}")
        if not about.get("dir_info", {}).get("editable"):
            inner = point.module.split(".")[1:]
            named = [folder.joinpath(*inner, "__init__.py") for folder in folders]
            named += [folder.joinpath(*inner[:-1], f"{inner[-1]}.py") for folder in folders if inner]
            return [str(path) for path in (named if folders else sources) if path.is_file()], record
    return [str(path) for path in (*folders, *sources)], record


def _state(files: Sequence[str], record: str) -> list[Any]:
    stats = [os.stat(path) for path in files if os.path.exists(path)]
    # A RECORD holds the SHA-256 of every file, so a checksum of it will do; importing hashlib would cost 3 ms.
    checksum = zlib.crc32(Path(record).read_bytes()) if record else 0
    return [checksum, [[stat.st_mtime_ns, stat.st_size] for stat in stats]]
