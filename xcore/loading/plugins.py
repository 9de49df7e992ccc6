"""One plugin after another: import it, call its hooks, and collect the cards that it registers."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from xcore.base.errors import UsageError, XcoreError, in_one_line, message_of, unknown
from xcore.base.files import staying_here
from xcore.base.tracing import at_line, is_traced, traced
from xcore.cards import GROUP, BadCard, PluginReport
from xcore.contract import hooks
from xcore.loading.rules import card_of

if TYPE_CHECKING:
    from xcore.contract.hooks import Register

PREFIX = "register_"
KNOWN = frozenset(name for name in dir(hooks) if name.startswith(PREFIX))
EXAMPLE = "@hookimpl above def register_explainers(register), from xcore"


class Loader:
    """Loads plugins, and keeps pluggy's account of those that were loaded."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hooks)

    def load(
        self, name: str, distribution: str, version: str, load: Callable[[], Any], package: str = ""
    ) -> PluginReport:
        """Load one plugin; whatever it raises becomes the reason on its report.

        Only an interrupt by the user passes through.
        """
        report = PluginReport(name, distribution, version, package)
        key = f"{distribution}/{name}"  # two distributions may use one entry-point name
        # What a plugin prints while it loads must not end up between our results.
        with contextlib.redirect_stdout(sys.stderr), staying_here():
            try:
                with traced(f"import {key}"):
                    plugin = load()
                self._manager.register(_with_hooks(plugin), key)
                self._call_hooks(plugin, key, report)
            except KeyboardInterrupt:
                raise
            # SystemExit is how scripts leave that were not meant to be imported; others raise what is no Exception.
            except BaseException as error:
                report.reason = _reason(error, report.package or report.name)
                if is_traced():
                    traceback.print_exception(error)
                report.cards, report.bad = [], []
        if not report.cards and report.bad and not report.reason:
            report.reason = report.bad[0].text
        if report.reason and self._manager.has_plugin(key):
            self._manager.unregister(name=key)
        return report

    def _call_hooks(self, plugin: Any, key: str, report: PluginReport) -> None:
        for caller in self._manager.get_hookcallers(plugin) or ():
            kind = caller.name.removeprefix(PREFIX).removesuffix("s")
            register = _collector(kind, report)
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin:
                    with traced(f"{key} {caller.name}"):
                        impl.function(register)


def _with_hooks(plugin: Any) -> Any:
    """The plugin; raises `UsageError` if it has no hook, or one that nobody would call as it is written."""
    marked, bare = [], []
    for name in dir(plugin):
        found = getattr(plugin, name, None)
        if getattr(found, f"{GROUP}_impl", None):
            if name not in KNOWN:
                raise unknown("hook", name, KNOWN)
            marked.append(name)
            _check_argument(name, found)
        elif name.startswith(PREFIX) and inspect.isroutine(found):
            bare.append(name)
    if forgotten := [name for name in bare if name in KNOWN] or ([] if marked else bare):
        raise UsageError(f"{forgotten[0]} is not marked as a hook", "write @hookimpl above it, from xcore")
    if not marked:
        raise UsageError("it has no hooks, so it offers nothing", f"write {EXAMPLE}")
    return plugin


def _check_argument(name: str, hook: Any) -> None:
    taken = list(inspect.signature(hook).parameters)
    if taken != ["register"]:
        raise UsageError(f"{name} takes ({', '.join(taken)})", f"write def {name}(register)")


def _collector(kind: str, report: PluginReport) -> Register:
    def register(*given: Any, **fields: Any) -> None:
        name = str(given[0]) if given else str(fields.get("name", "?"))
        try:
            card = card_of(kind, given, fields, report.distribution, report.version)
            if any((c.kind, c.name) == (kind, card.name) for c in report.cards):
                raise UsageError("it is registered twice by one plugin", "leave one out, or give it another name")
        except XcoreError as error:
            report.bad.append(BadCard(kind, name, str(error)))
        else:
            report.cards.append(card)

    return register


def _reason(error: BaseException, package: str) -> str:
    """What a plugin raised, in one line, and where in it."""
    if isinstance(error, XcoreError):
        return (message_of(error).splitlines() or [type(error).__name__])[0]
    return f"{in_one_line(error)}{at_line(error, (package,))}"


class _FromSource(SourceFileLoader):
    """Compiles a plugin file whenever it is loaded.

    Kept bytecode goes by a file's size and the second of its last change, so that a file that was changed twice within
    a second could run as it was before, under the digest of what it is now.
    """

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def file_loader(path: Path, module_name: str) -> Callable[[], ModuleType]:
    """A function that imports a plugin file under a name."""

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{path} is not a Python file")
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _FromSource(module_name, str(path))
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        return module

    return load
