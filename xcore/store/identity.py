"""What identifies an explanation and a score: explain once, score many times.

By rule, without a list of names: the code of the core counts as a whole, but for the rooms that no result passes
through; the code of a plugin counts as a whole, with that of the plugins that its distribution requires. A version
alone would let every edit during development pass for the old result. Models, data and generators add the files and the
fingerprint on their card, which loads nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xcore.base.digests import digest, file_digest, plain_data, tree_digest
from xcore.base.errors import MissingError, UsageError
from xcore.cards import FILE_MODULE, Card
from xcore.contract.types import Cell, Ref
from xcore.registry import Registry, plugin_errors, resolve
from xcore.store.installed import normalised, plugin_packages, requires

CONTRACT = 2
"""Raised when an old record no longer means the same."""
OUTSIDE = frozenset({"loading", "report", "ci", "cli", "testing"})
"""Rooms of the core that no result passes through. The modules beside the rooms only call what is in them."""
SOURCES = (".py", ".json", ".toml")
"""Files of a package that its results depend on."""
AUDIT = "audit.json"
"""File in a package that says what audits of its metrics found (`xcore.report.audits`), which changes no result."""


@cache
def core_digest(root: Path = Path(__file__).parents[1]) -> str:
    """Digest of the rooms of the core that results pass through."""
    rooms = sorted(path.parent for path in root.glob("*/__init__.py") if path.parent.name not in OUTSIDE)
    return digest([(room.name, tree_digest(room, (".py",))) for room in rooms])


def code_digest(card: Card) -> str:
    """Digest of the code behind a card: its package, the packages of the plugins that it requires, and the core.

    The code of a plugin file is all Python files of its folder, with the packages in it, and the plugins that they
    name: a file states no requirements.
    """
    module = card.module
    if module.startswith(FILE_MODULE):
        folder = _folder(module)
        packages, own = _named_packages(folder), _folder_digest(folder)
    else:
        packages, own = frozenset({module.partition(".")[0], *_required_packages([card.distribution])}), ""
    return digest([core_digest(), own, [(name, _package_digest(name)) for name in sorted(packages)]])


def _folder(module: str) -> Path:
    """The folder of a plugin file."""
    return Path(str(sys.modules[module].__file__)).parent


def codes(registry: Registry, distributions: Iterable[str]) -> dict[str, str]:
    """Distribution -> digest of its own code, for the core and these plugins; a plugin file goes by its own name."""
    wanted, found = set(distributions), {"xcore-xai": core_digest()}
    for plugin in registry.plugins:
        if plugin.ok and plugin.distribution in wanted:
            code = _package_digest(plugin.package) if plugin.package else _folder_digest(_folder(plugin.name))
            found[plugin.distribution] = code
    return found


def _required_packages(distributions: Iterable[str]) -> set[str]:
    """The packages of the plugins that distributions require, directly or not, without their optional extras."""
    found, seen, queue = set[str](), set[str](), list(distributions)
    while queue:
        for name in _requirements(queue.pop()):
            if name not in seen and name in plugin_packages():
                seen.add(name)
                found |= plugin_packages()[name]
                queue.append(name)
    return found


@cache
def _named_packages(folder: Path) -> frozenset[str]:
    """The packages of installed plugins that the code of a folder names, and of those that they require."""
    words = {word for path in folder.glob("*.py") for word in re.findall(r"\w+", path.read_text("utf-8", "replace"))}
    named = {name: packages for name, packages in plugin_packages().items() if packages & words}
    return frozenset[str]().union(*named.values(), _required_packages(named))


def _requirements(distribution: str) -> Iterator[str]:
    for line in requires(distribution):
        name = re.match(r"[A-Za-z0-9._-]+", line)
        if name and "extra ==" not in line:
            yield normalised(name[0])


@cache
def _package_digest(name: str) -> str:
    if name == "__main__":
        raise UsageError(
            "a plugin is defined in the script or notebook that runs, whose code results cannot be identified by",
            "put it into a Python file, and name that with `plugins` or --plugin",
        )
    spec = find_spec(name)
    places = spec.submodule_search_locations if spec else None
    if places:
        return digest([tree_digest(Path(place), SOURCES, (AUDIT,)) for place in places])
    return file_digest(Path(spec.origin)) if spec and spec.origin else ""


def _shipped_digest(card: Card, name: str) -> str:
    """Digest of a file or folder that lies in the package of a card."""
    spec = find_spec(card.module.partition(".")[0])
    path = Path(str(spec and spec.origin)).parent / name
    if not path.exists():
        raise MissingError(f"{card.full_name}: {path} is missing", f"reinstall {card.distribution}")
    return tree_digest(path) if path.is_dir() else file_digest(path)


@cache
def _folder_digest(folder: Path) -> str:
    files = [(path.name, file_digest(path)) for path in sorted(folder.glob("*.py"))]
    packages = [(path.parent.name, tree_digest(path.parent, SOURCES)) for path in sorted(folder.glob("*/__init__.py"))]
    return digest([files, packages])


def plain_options(options: Any) -> Mapping[str, Any]:
    """Validated options with every default filled in, as plain data."""
    return {} if options is None else options.model_dump(mode="json")


def ref_key(kind: str, ref: Ref) -> str:
    """What a component is known by in this process: the digest of its kind, name and options.

    Made once for each reference: a cell asks for those of its components dozens of times.
    """
    known = _ref_keys.get((kind, id(ref)))
    if known is None:
        if len(_ref_keys) >= MOST_KEYS:
            _ref_keys.clear()
        known = _ref_keys[kind, id(ref)] = ref, digest([kind, ref.text, dict(ref.options)])
    return known[1]


_ref_keys: dict[tuple[str, int], tuple[Ref, str]] = {}
"""With the references, since an id may only be looked up as long as its object is there."""
MOST_KEYS = 10_000


def cell_key(cell: Cell) -> str:
    """What ``identities.json`` calls a cell: the digest of its fields."""
    return cell_keys([cell])[0]


def cell_keys(cells: Sequence[Cell]) -> list[str]:
    """The same of many cells, of which each part that several share is made plain once."""
    return [
        digest({k: v for k, v in fields.items() if k not in ("split", "group")} | chosen_samples(cell))
        for cell, fields in zip(cells, plain_data(cells), strict=True)
    ]


def chosen_samples(cell: Cell) -> dict[str, str]:
    """The part of the data and the group that are explained.

    Only where they are given: cells and explanations that came before these fields keep their names.
    """
    split = {"split": cell.split} if cell.split != Cell.split else {}
    return split | ({"group": cell.group} if cell.group else {})


class Identity:
    """Identities of the components, cells and scores of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._known: dict[str, str] = {}

    def component(self, kind: str, ref: Ref) -> str:
        """What identifies a component: its code, its options, and the files that the fingerprint on its card names."""
        key = ref_key(kind, ref)
        if key not in self._known:  # made once: a fingerprint may list a large folder, and every cell and score asks
            card, argument = self.registry.find(kind, ref)
            options = self.registry.options(kind, ref)
            code = [code_digest(card), *(_shipped_digest(card, name) for name in card.files)]
            about = [kind, card.full_name, argument, plain_options(options), code, self.files(kind, ref)]
            self._known[key] = digest(about)
        return self._known[key]

    def files(self, kind: str, ref: Ref) -> str:
        """Digest of the files behind a component, as the fingerprint on its card has it; "" if it reads none."""
        key = f"files {ref_key(kind, ref)}"
        if key not in self._known:
            card, argument = self.registry.find(kind, ref)
            with plugin_errors(card):
                found = resolve(card.fingerprint) if card.fingerprint else None
                self._known[key] = found(self.registry.options(kind, ref), argument) if found else ""
        return self._known[key]

    def explanation(self, cell: Cell) -> str:
        """Identity of the explanation that a cell asks for.

        Not part of it: the label (a name only), the generator and helper models where the method does not use them,
        and the budget of held-out samples, which only metrics see.
        """
        roles = self.registry.roles(cell.method)
        generator = cell.generator if self.registry.draws(cell.method) else None
        return digest(
            {
                "contract": CONTRACT,
                "method": self.component("explainer", cell.method),
                "classifier": self.component("classifier", cell.classifier),
                "layer": cell.layer,
                "data": self.component("dataset", cell.data),
                "contrast": self.component("dataset", cell.contrast) if cell.contrast else None,
                "class": cell.cls,
                "seed": cell.seed,
                "data_seed": cell.data_seed,
                "generator": self.component("generator", generator) if generator else None,
                "models": {r: self.component("model", cell.models[r]) for r in roles if r in cell.models},
                "samples": cell.budget.samples,
                "steps": cell.budget.steps,
                **chosen_samples(cell),
            }
        )

    def score(self, metric: Ref, explanations: Iterable[str], cell: Cell) -> str:
        """Identity of the scores of a metric over these explanations."""
        roles = self.registry.roles(metric, "metric")
        return digest(
            {
                "contract": CONTRACT,
                "metric": self.component("metric", metric),
                "explanations": sorted(explanations),
                "models": {r: self.component("model", cell.models[r]) for r in roles if r in cell.models},
                "generator": self.component("generator", cell.generator) if cell.generator else None,
                "contrast": self.component("dataset", cell.contrast) if cell.contrast else None,
                "heldout": cell.budget.heldout,
                "heldout_data": self.component("dataset", cell.heldout) if cell.heldout else None,
            }
        )
