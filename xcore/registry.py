"""The registry: plugins loaded each in its own guard, and the way from a reference to a component."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import __version__
from xcore.base.errors import MissingError, PluginError, UsageError, XcoreError, in_one_line, unknown
from xcore.base.files import staying_here
from xcore.base.tracing import at_line, is_traced, traced
from xcore.cards import FILE_MODULE, GROUP, Card, PluginReport, environment, keep_cards, kept_cards

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from xcore.contract.types import Ref
    from xcore.loading.plugins import Loader

KINDS = (
    "explainer",
    "generator",
    "classifier",
    "metric",
    "dataset",
    "model",
    "rendering",
    "engine",
    "tracker",
    "command",
)
TITLES = {"explainer": "method", "dataset": "data set"}
CORE = ("xcore-xai", __version__)
OPTIONAL = "?"
"""What follows a role on the card of a component that does without it where no model is named."""

ENGINES = (
    Card("engine", "local", "xcore.run.engines:InProcess", "one cell after another in this process", *CORE),
    Card(
        *("engine", "processes", "xcore.run.processes:Processes", "cells in several processes of this machine", *CORE),
        options="xcore.run.engine_options:ProcessesOptions",
    ),
)
"""The engines of the core, which is no plugin."""


class Registry:
    """All components of all plugins that could be loaded."""

    def __init__(self) -> None:
        self.plugins: list[PluginReport] = []
        self.files: list[str] = []
        self.by_hand: list[str] = []
        """Names of plugins that were added as objects, which no other process can find."""
        self._cards: dict[tuple[str, str], list[Card]] = {}
        self._loader: Loader | None = None
        for card in ENGINES:
            self._cards["engine", card.name] = [card]

    @property
    def _plugins(self) -> Loader:
        """Made when the first plugin is loaded: kept cards need none."""
        if self._loader is None:
            from xcore.loading.plugins import Loader

            self._loader = Loader()
        return self._loader

    # -- loading -----------------------------------------------------------------------------------------------------
    def load_installed(self, again: bool = False) -> Registry:
        """Load every entry point of the group ``xcore`` (or those that the variable XCORE_PLUGINS chooses).

        Parameters
        ----------
        again
            Also try those plugins again that ended or held up a process when they were loaded before.
        """
        wanted = os.environ.get("XCORE_PLUGINS")
        kept = None if again or is_traced() else kept_cards()
        if kept is not None:
            chosen = _chosen(wanted, [(report.name, report.distribution) for report in kept])
            for report in kept:
                if (report.name, report.distribution) in chosen:
                    self._add(self._load_again(report) if report.to_load else report)
            return self
        from importlib.metadata import entry_points

        from xcore.loading.trial import dangers

        began, before = time.time_ns(), environment()
        points = sorted(entry_points(group=GROUP), key=lambda p: (p.name, _origin(p)[0]))
        chosen = _chosen(wanted, [(point.name, _origin(point)[0]) for point in points])
        points = [point for point in points if (point.name, _origin(point)[0]) in chosen]
        danger = dangers(points, again)
        for point in points:
            self._add(self._load_point(point, danger))
        if wanted is None:
            keep_cards(self.plugins, points, before, began)
        return self

    def _load_again(self, kept: PluginReport) -> PluginReport:
        """Load a plugin whose cards are not kept: it failed before, or names its parts by objects."""
        from importlib.metadata import entry_points

        from xcore.loading.trial import dangers

        found = [p for p in entry_points(group=GROUP, name=kept.name) if _origin(p)[0] == kept.distribution]
        return self._load_point(found[0], dangers(found[:1]))

    def _load_point(self, point: EntryPoint, danger: Mapping[tuple[str, str], str]) -> PluginReport:
        """Load a plugin, unless it is a danger to the process."""
        about = point.name, *_origin(point)
        package = point.module.partition(".")[0]
        if reason := danger.get(about[:2], ""):
            return PluginReport(*about, package, reason=reason)
        return self._plugins.load(*about, point.load, package)

    def _add(self, report: PluginReport) -> None:
        self.plugins.append(report)
        for card in report.cards:
            self._cards.setdefault((card.kind, card.name), []).append(card)

    def _add_whole(self, report: PluginReport, what: str) -> None:
        """Add a plugin that was asked for by name; raises `UsageError` if it, or a card of it, is not right."""
        if fault := report.reason or next((bad.text for bad in report.bad), ""):
            raise UsageError(f"{what} failed to load: {fault}")
        self._add(report)

    def load_file(self, path: Path) -> None:
        """Load a plugin from a Python file; raises `UsageError` if it cannot be loaded (it was asked for by name)."""
        if not path.is_file():
            raise UsageError(f"no plugin file {str(path)!r}", "--plugin takes a Python file")
        if str(path.resolve()) in self.files:
            return
        module_name = FILE_MODULE + path.stem.replace(".", "_")  # a dot would name a module of a package
        if any(p.name == module_name for p in self.plugins):
            raise UsageError(f"two plugin files are named {path.name!r}", "rename one of them")
        from xcore.loading.plugins import file_loader

        self.files.append(str(path.resolve()))
        report = self._plugins.load(module_name, path.stem, "", file_loader(path, module_name))
        self._add_whole(report, f"plugin file {path}")

    def add(self, plugin: Any, name: str, version: str = "") -> None:
        """Add a plugin by hand, as a notebook or a test does; raises `UsageError` if anything in it is not right.

        Parameters
        ----------
        plugin
            A module or an object with hooks that are marked ``@hookimpl``.
        name, version
            What stands for its distribution.
        """
        module = str(getattr(plugin, "__name__", "")) or type(plugin).__module__
        package = module.partition(".")[0]
        self._add_whole(self._plugins.load(name, name, version, lambda: plugin, package), f"plugin {name!r}")
        self.by_hand.append(name)

    @property
    def packages(self) -> set[str]:
        """The packages of all plugins, and the modules of plugin files."""
        return {plugin.package or plugin.name for plugin in self.plugins}

    # -- looking up --------------------------------------------------------------------------------------------------
    def cards(self, kind: str | None = None) -> Iterator[Card]:
        """All cards, in the order of kinds and names."""
        for k in KINDS if kind is None else (kind,):
            for name in sorted(n for kk, n in self._cards if kk == k):
                yield from self._cards[k, name]

    def find(self, kind: str, ref: Ref | str) -> tuple[Card, str | None]:
        """The card that a reference names, and its argument; raises an `XcoreError` that says what is wrong with it."""
        text = str(ref)
        name, _, argument = text.partition(":")
        found = self._cards.get((kind, name), [])
        if not found and "/" in name:
            distribution, _, rest = name.partition("/")
            found = [c for c in self._cards.get((kind, rest), []) if c.distribution == distribution]
        if not found:
            raise self._unknown(kind, name)
        if len(found) > 1:
            both = " and ".join(c.full_name for c in found)
            found = [c for c in found if argument and c.claims and resolve(c.claims)(argument)]
            if len(found) != 1:
                raise UsageError(f"{_title(kind)} {name!r} is offered by two plugins", f"say which: {both}")
        card = found[0]
        if card.argument and not argument and not card.argument.startswith("["):
            raise UsageError(f"{_title(kind)} {name!r} needs an argument", f"write {card.shown}")
        if argument and not card.argument:
            raise UsageError(f"{_title(kind)} {name!r} takes no argument, got {argument!r}")
        return card, argument or None

    def preferred(self, kind: str, text: str, distributions: Sequence[str]) -> str:
        """The reference, with the distribution in front if several plugins offer the name and one of these is meant."""
        found = self._cards.get((kind, text.partition(":")[0]), [])
        meant = [card for card in found if card.distribution in distributions]
        return f"{meant[0].distribution}/{text}" if len(found) > 1 and len(meant) == 1 else text

    def clashes(self, card: Card) -> list[Card]:
        """The cards of other plugins that offer this name, too, where no argument tells which one is meant."""
        others = [other for other in self._cards.get((card.kind, card.name), []) if other is not card]
        return [] if card.claims and all(other.claims for other in others) else others

    def doubts(self, card: Card) -> Iterator[str]:
        """Roles that a card asks for, that no model plays, and that look like a known one: they may be misspelt.

        A plugin that is not installed may bring such a role, so the card is not left out.
        """
        from difflib import get_close_matches

        from xcore.contract.roles import READS

        known = {"generator", *READS, *self.known_roles()}
        for helper in () if isinstance(card.uses, str) else card.uses:
            role = helper.removesuffix(OPTIONAL)
            if role not in known and (near := get_close_matches(role, sorted(known), n=1, cutoff=0.75)):
                yield f"{card.kind} {card.name!r} uses {role!r}, a role that no model plays; did you mean {near[0]!r}?"

    def find_model(self, role: str, ref: Ref | str) -> Card:
        """The card of a helper model; raises `UsageError` if it plays another role than the one it is named for."""
        card, _ = self.find("model", ref)
        if role not in card.roles:
            plays = " and ".join(map(repr, card.roles))
            raise UsageError(f"model {card.shown!r} plays the role {plays}, not {role!r}", "see `xcore list models`")
        return card

    def _unknown(self, kind: str, name: str) -> XcoreError:
        for plugin in self.plugins:
            for bad in plugin.bad:
                if (bad.kind, bad.name) == (kind, name.rpartition("/")[2]):
                    text = f"{_title(kind)} {name!r} of {plugin.distribution} is left out: {bad.fault}"
                    return MissingError(text, "see `xcore plugins`")
            if not plugin.ok and name.rsplit("/")[-1] in (plugin.name, plugin.distribution.removeprefix("xcore-")):
                text = f"unknown {_title(kind)} {name!r}: plugin {plugin.distribution} failed to load: {plugin.reason}"
                return MissingError(text, "see `xcore plugins`")
        return unknown(_title(kind), name, [c.shown for c in self.cards(kind)])

    # -- making ------------------------------------------------------------------------------------------------------
    def options(self, kind: str, ref: Ref) -> Any:
        """The validated options of a reference (None if the component takes none)."""
        card, _ = self.find(kind, ref)
        if card.options is None:
            if ref.options:
                raise UsageError(f"{_title(kind)} {card.name!r} takes no options, got {next(iter(ref.options))!r}")
            return None
        from xcore.contract.options import validate

        return validate(resolve(card.options), ref.options, f"{_title(kind)} {card.name!r}")

    def create(self, kind: str, ref: Ref) -> Any:
        """Call the factory of a reference."""
        card, argument = self.find(kind, ref)
        options = self.options(kind, ref)
        with plugin_errors(card):
            factory = resolve(card.factory)
            with traced(f"{card.full_name} made as {_title(kind)}"):
                return factory(options, argument) if card.argument else factory(options)

    def rendering(self, name: str) -> Any:
        """What a plugin registered for a rendering of random sets, or None."""
        from xcore.contract.types import Ref

        return self.create("rendering", Ref(name)) if any(c.name == name for c in self.cards("rendering")) else None

    def roles(self, ref: Ref, kind: str = "explainer") -> tuple[str, ...]:
        """The roles that a component uses with its options."""
        return tuple(role for role in self.uses(ref, kind) if role != "generator")

    def draws(self, ref: Ref) -> bool:
        """Whether a method uses a generator with its options."""
        return "generator" in (*self.find("explainer", ref)[0].needs, *self.uses(ref, "explainer"))

    def uses(self, ref: Ref, kind: str) -> tuple[str, ...]:
        """The helpers that a component asks for with its options: roles, and ``generator``."""
        return tuple(helper.removesuffix(OPTIONAL) for helper in self._asked(ref, kind))

    def _asked(self, ref: Ref, kind: str) -> tuple[str, ...]:
        """The same; those that it does without where none is named end with `OPTIONAL`."""
        card, _ = self.find(kind, ref)
        with plugin_errors(card):
            return tuple(resolve(card.uses)(self.options(kind, ref))) if isinstance(card.uses, str) else card.uses

    def lacking(self, ref: Ref, named: Iterable[str], modality: str) -> str:
        """The first helper that a method needs on samples of a modality and that is not named; "" if there is none.

        Nothing is loaded for it, so that it can be told before anything is.

        Parameters
        ----------
        named
            The roles that are played, and ``generator`` if there is one.
        """
        from xcore.contract.roles import READS

        card, known = self.find("explainer", ref)[0], set(named)
        if modality not in card.modalities:
            return ""  # its cells are skipped, and the reason is told
        always = [helper for helper in card.needs if helper == "generator"]
        for helper in (*always, *self._asked(ref, "explainer")):
            if helper not in known and not helper.endswith(OPTIONAL) and READS.get(helper, modality) == modality:
                return helper
        return ""

    def played_by(self, helper: str, modality: str) -> str:
        """What may be named for a role, or for ``generator``, on samples of a modality: ``clip:ID``, or ``REF``.

        Those that were made for the data of their distribution are named only if there are no others.
        """
        kind = "generator" if helper == "generator" else "model"
        cards = [c for c in self.cards(kind) if modality in c.modalities and helper in ("generator", *c.roles)]
        shown = [c.shown for c in cards if c.argument or not c.own_data] or [c.shown for c in cards]
        return " or ".join(shown[:4]) or "REF"

    def known_roles(self) -> set[str]:
        """The roles that some model plays, ours or a plugin's own."""
        return {role for card in self.cards("model") for role in card.roles}

    def fallbacks(self, roles: Iterable[str], modality: str) -> dict[str, Ref]:
        """Role -> the model that plays it where nobody names one; roles without such a model are left out.

        Only models that read samples of this modality are asked.
        """
        from xcore.contract.types import Ref

        found: dict[str, Ref] = {}
        for role in dict.fromkeys(roles):
            cards = [c for c in self.cards("model") if role in c.roles and c.default and modality in c.modalities]
            if len(cards) > 1:
                both = " and ".join(c.full_name for c in cards)
                raise UsageError(
                    f"two models would play the role {role!r} unasked: {both}", f"name one with --model {role}=REF"
                )
            for card in cards:
                alone = len(self._cards["model", card.name]) == 1
                found[role] = Ref(card.name if alone else card.full_name)
        return found


@contextlib.contextmanager
def plugin_errors(card: Card) -> Iterator[None]:
    """Errors that a plugin's own code raises, as one line that says which plugin it is."""
    try:
        with staying_here():
            yield
    except XcoreError:
        raise
    except (Exception, SystemExit) as error:  # a factory that leaves as a script does must not end the run
        raise PluginError(
            f"{_title(card.kind)} {card.name!r} of {card.distribution} cannot be made: {in_one_line(error)}"
            f"{at_line(error, (card.module.partition('.')[0],))}"
        ) from error


def load_registry(files: Sequence[str | Path] = (), again: bool = False) -> Registry:
    """All installed plugins (for `again` see `Registry.load_installed`), and those in the files."""
    registry = Registry().load_installed(again)
    for path in files:
        registry.load_file(Path(path))
    return registry


def resolve(target: Any) -> Any:
    """The object that a dotted string ``package.module:name`` names (anything else is returned as it is)."""
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingError(f"{target}: {error}", f"pip install {error.name}" if error.name else "") from error
    except XcoreError:
        raise
    except Exception as error:  # a library that is broken or of another version, or a name that is not there
        where = at_line(error, (module.partition(".")[0],))
        raise MissingError(f"{target} cannot be loaded: {in_one_line(error)}{where}") from error


def _chosen(wanted: str | None, names: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of these (entry point, distribution) that XCORE_PLUGINS chooses: ``a,b`` = only these, ``-a`` = not this.

    Raises
    ------
    UsageError
        It names a plugin that is not installed.
    """
    if wanted is None:
        return set(names)
    words = [word for part in wanted.split(",") if (word := part.strip())]
    only = {word for word in words if not word.startswith("-")}
    without = {word[1:] for word in words if word.startswith("-")}
    known = {name for both in names for name in both}
    for word in (*only, *without):
        if word not in known:
            raise unknown("plugin", word, known, more="XCORE_PLUGINS names it; see `xcore plugins`")
    every = bool(without) and not only
    return {both for both in names if (every or only & {*both}) and not without & {*both}}


def _origin(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else (point.name, "")


def _title(kind: str) -> str:
    return TITLES.get(kind, kind)
