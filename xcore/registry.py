"""Who is here: plugins loaded each in its own guard, their cards, and the way from a reference to a component."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from xcore import hookspecs
from xcore.errors import MissingError, PluginError, UsageError, XcoreError, unknown
from xcore.types import Ref

API = 1
FILE_MODULE = "xcore_file_"
"""What the name of the module of a plugin file begins with."""
KINDS = ("explainer", "generator", "classifier", "metric", "dataset", "model", "engine", "command")
TITLES = {"explainer": "method", "dataset": "data set"}


@dataclass(frozen=True)
class Card:
    """What is known of a component without importing it. See `hookspecs.Register` for the fields."""

    kind: str
    name: str
    factory: Any
    summary: str
    distribution: str
    version: str
    options: str | None = None
    fingerprint: str | hookspecs.Fingerprint | None = None
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] | str = ()
    kinds: tuple[str, ...] = ("image",)
    role: str | None = None
    default: bool = False
    argument: str | None = None
    paper: str | None = None
    over: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.distribution}/{self.name}"

    @property
    def shown(self) -> str:
        """The name as a reference is written, e.g. ``timm:MODEL``, or ``sam[:DIR]`` if the argument may be left out."""
        if self.argument and self.argument.startswith("["):
            return f"{self.name}[:{self.argument[1:]}"
        return f"{self.name}:{self.argument}" if self.argument else self.name


@dataclass
class PluginReport:
    """What became of one plugin: its cards, or the reason why it was left out."""

    name: str
    distribution: str
    version: str
    cards: list[Card] = field(default_factory=list)
    reason: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason


class Registry:
    """All components of all plugins that could be loaded."""

    def __init__(self) -> None:
        self.plugins: list[PluginReport] = []
        self.files: list[str] = []
        self._cards: dict[tuple[str, str], list[Card]] = {}
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)

    # -- loading -----------------------------------------------------------------------------------------------------
    def load_installed(self) -> Registry:
        """Load every entry point of the group ``xcore`` (or those that the variable XCORE_PLUGINS lists)."""
        wanted = os.environ.get("XCORE_PLUGINS")
        names = None if wanted is None else {n.strip() for n in wanted.split(",")}
        points = sorted(entry_points(group=hookspecs.GROUP), key=lambda p: (p.name, p.dist.name if p.dist else ""))
        for point in points:
            if names is None or point.name in names:
                self._load(point.name, *_origin(point), point.load)
        return self

    def load_file(self, path: Path) -> None:
        """Load a plugin from a Python file; raises `UsageError` if it cannot be loaded (it was asked for by name)."""
        if not path.is_file():
            raise UsageError(f"no plugin file {str(path)!r}", "--plugin takes a Python file")
        if str(path.resolve()) in self.files:
            return
        module_name = FILE_MODULE + path.stem.replace(".", "_")  # a dot would name a module of a package
        if any(p.name == module_name for p in self.plugins):
            raise UsageError(f"two plugin files are named {path.name!r}", "rename one of them")

        def load() -> ModuleType:
            spec = importlib.util.spec_from_file_location(module_name, path)
            if spec is None or spec.loader is None:
                raise UsageError(f"{path} is not a Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            spec.loader.exec_module(module)
            return module

        self.files.append(str(path.resolve()))
        report = self._load(module_name, path.stem, "", load)
        if not report.ok:
            raise UsageError(f"plugin file {path} failed to load: {report.reason}")

    def _load(self, name: str, distribution: str, version: str, load: Callable[[], Any]) -> PluginReport:
        report = PluginReport(name, distribution, version)
        self.plugins.append(report)
        key = f"{distribution}/{name}"  # two distributions may use one entry-point name
        cards: list[Card] = []
        # What a plugin prints while it loads must not end up between our results. SystemExit is how scripts that were
        # not meant to be imported leave.
        with contextlib.redirect_stdout(sys.stderr):
            try:
                plugin = load()
                self._manager.register(plugin, key)
                self._refuse_unknown_hooks(plugin)
                for caller in self._manager.get_hookcallers(plugin) or ():
                    kind = caller.name.removeprefix("register_").removesuffix("s")
                    register = self._collector(cards, kind, distribution, version)
                    for impl in caller.get_hookimpls():
                        if impl.plugin is plugin:
                            impl.function(register)
            except (Exception, SystemExit) as error:
                kind = "" if isinstance(error, XcoreError) else f"{type(error).__name__}: "
                report.reason = f"{kind}{error}".splitlines()[0]
                if self._manager.has_plugin(key):
                    self._manager.unregister(name=key)
                return report
        report.cards = cards
        for card in cards:
            self._cards.setdefault((card.kind, card.name), []).append(card)
        return report

    def _refuse_unknown_hooks(self, plugin: Any) -> None:
        known = {n for n in dir(hookspecs) if n.startswith("register_")}
        for name in dir(plugin):
            if getattr(getattr(plugin, name, None), f"{hookspecs.GROUP}_impl", None) and name not in known:
                raise unknown("hook", name, known)

    @staticmethod
    def _collector(cards: list[Card], kind: str, distribution: str, version: str) -> hookspecs.Register:
        def register(name: str, factory: Any, *, summary: str, api: int = 1, **fields: Any) -> None:
            if api != API:
                raise UsageError(f"{kind} {name!r} was written for api {api}, this is api {API}", "update the plugin")
            if any(c.kind == kind and c.name == name for c in cards):
                raise UsageError(f"{kind} {name!r} is registered twice by one plugin")
            cards.append(Card(kind, name, factory, summary, distribution, version, **fields))

        return register

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
            raise UsageError(f"{_title(kind)} {name!r} is offered by two plugins", f"say which: {both}")
        card = found[0]
        if card.argument and not argument and not card.argument.startswith("["):
            raise UsageError(f"{_title(kind)} {name!r} needs an argument", f"write {card.shown}")
        if argument and not card.argument:
            raise UsageError(f"{_title(kind)} {name!r} takes no argument, got {argument!r}")
        return card, argument or None

    def _unknown(self, kind: str, name: str) -> XcoreError:
        for plugin in self.plugins:
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
        from xcore.options import validate

        return validate(resolve(card.options), ref.options, f"{_title(kind)} {card.name!r}")

    def create(self, kind: str, ref: Ref) -> Any:
        """Call the factory of a reference."""
        card, argument = self.find(kind, ref)
        options = self.options(kind, ref)
        with blamed(card):
            factory = resolve(card.factory)
            return factory(options, argument) if card.argument else factory(options)

    def roles(self, ref: Ref, kind: str = "explainer") -> tuple[str, ...]:
        """The roles that a component uses with its options."""
        return tuple(role for role in self.uses(ref, kind) if role != "generator")

    def draws(self, ref: Ref) -> bool:
        """Whether a method uses a generator with its options."""
        return "generator" in (*self.find("explainer", ref)[0].needs, *self.uses(ref, "explainer"))

    def uses(self, ref: Ref, kind: str) -> tuple[str, ...]:
        """The helpers that a component asks for with its options: roles, and ``generator``."""
        card, _ = self.find(kind, ref)
        with blamed(card):
            return tuple(resolve(card.uses)(self.options(kind, ref))) if isinstance(card.uses, str) else card.uses

    def fallbacks(self, roles: Iterable[str]) -> dict[str, Ref]:
        """Role -> the model that plays it where nobody names one; roles without such a model are left out."""
        found: dict[str, Ref] = {}
        for role in dict.fromkeys(roles):
            cards = [c for c in self.cards("model") if c.role == role and c.default]
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
def blamed(card: Card) -> Iterator[None]:
    """What a plugin's own code raises, as one line that says whose it is."""
    try:
        yield
    except XcoreError:
        raise
    except Exception as error:
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        raise PluginError(
            f"{_title(card.kind)} {card.name!r} of {card.distribution} cannot be made: {first}"
        ) from error


def load_registry(files: Sequence[str | Path] = ()) -> Registry:
    """All installed plugins, and those in the files."""
    registry = Registry().load_installed()
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
        raise MissingError(f"{target} cannot be loaded: {type(error).__name__}: {error}") from error


def _origin(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else (point.name, "")


def _title(kind: str) -> str:
    return TITLES.get(kind, kind)
