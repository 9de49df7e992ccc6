"""What identifies an explanation and a score: explain once, score many times.

A digest of the source that a component imports stands for it, since a version alone would let every edit during
development pass for the old result. Models are identified by the fingerprint on their card, so nothing is loaded.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from xcore.registry import Card, Registry, blamed, resolve
from xcore.types import Cell, Ref

CONTRACT = 1
"""Raised when an old record no longer means the same."""

# Modules of the core that results pass through; the others (tables, command line) cannot change a result.
RESULT_MODULES = (
    "classifier",
    "codec",
    "contrast",
    "graph",
    "guard",
    "probe",
    "samples",
    "task",
    "torchmodel",
    "types",
)


def digest(value: Any) -> str:
    """Hex digest of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Hex digest of a file's content, kept by path, size and time."""
    stat = path.stat()
    return _file_digest(str(path), stat.st_size, stat.st_mtime_ns)


@cache
def _file_digest(path: str, size: int, mtime: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(root: Path, suffixes: Iterable[str] = ()) -> str:
    """Hex digest of the files below a folder, names and contents (of these suffixes; of all if none are named)."""
    wanted = tuple(suffixes)
    files = sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return digest([(str(p.relative_to(root)), file_digest(p)) for p in files if not wanted or p.suffix in wanted])


def card_digest(card: Card) -> str:
    """Digest of the code behind a card: the modules that its factory and options import, directly or not, as far as
    they belong to its own package or to another xcore package, and the data files (JSON, TOML) of those packages.
    """
    factory = card.factory if isinstance(card.factory, str) else card.factory.__module__
    starts = [target.partition(":")[0] for target in (factory, card.options) if target]
    return digest([_code_digest(start) for start in starts])


@cache
def _code_digest(start: str) -> str:
    own = start.partition(".")[0]
    found: dict[str, Path] = {}
    queue = [start]
    while queue:
        name = queue.pop()
        top = name.partition(".")[0]
        if name in found or not (top == own or top.startswith("xcore_")) or (path := _module_file(name)) is None:
            continue
        found[name] = path
        queue += [*_imported(name, path), *([name.rpartition(".")[0]] if "." in name else [])]
    data = [
        tree_digest(path.parent, (".json", ".toml")) for name, path in sorted(found.items()) if _is_root(name, path)
    ]
    return digest([start, [(name, file_digest(path)) for name, path in sorted(found.items())], data])


def _is_root(name: str, path: Path) -> bool:
    return "." not in name and path.name == "__init__.py"


def _module_file(name: str) -> Path | None:
    """The source of a module, found without importing it; None if there is no such module."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return Path(spec.origin) if spec is not None and spec.origin and not rest else None
    path = Path(next(iter(spec.submodule_search_locations)), *rest)
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


def _imported(name: str, path: Path) -> Iterator[str]:
    """Names that a module imports anywhere in its code; some are not modules but what is in them."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@lru_cache(maxsize=1)
def core_digest() -> str:
    """Digest of those modules of the core that results pass through."""
    root = Path(__file__).parent
    return digest([file_digest(root / f"{m}.py") for m in RESULT_MODULES])


def plain_options(options: Any) -> Mapping[str, Any]:
    """Validated options with every default filled in, as plain data."""
    return {} if options is None else options.model_dump(mode="json")


class Identity:
    """Identities of the components, cells and scores of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._known: dict[str, str] = {}

    def component(self, kind: str, ref: Ref) -> str:
        """Fingerprint of a model, data set, classifier or generator: its weights or files, and its options."""
        return self._once("component", kind, ref, self._component)

    def code(self, kind: str, ref: Ref) -> str:
        """Digest of the code and options of a method or metric."""
        return self._once("code", kind, ref, self._code)

    def _once(self, what: str, kind: str, ref: Ref, make: Callable[[str, Ref], str]) -> str:
        """Made once: a fingerprint may list a large folder, and every cell and score asks for it."""
        key = digest([what, kind, ref.text, dict(ref.options)])
        if key not in self._known:
            self._known[key] = make(kind, ref)
        return self._known[key]

    def _component(self, kind: str, ref: Ref) -> str:
        card, argument = self.registry.find(kind, ref)
        options = self.registry.options(kind, ref)
        with blamed(card):
            own = resolve(card.fingerprint)(options, argument) if card.fingerprint else card_digest(card)
        return digest([kind, card.full_name, argument, plain_options(options), own])

    def _code(self, kind: str, ref: Ref) -> str:
        card, _ = self.registry.find(kind, ref)
        options = self.registry.options(kind, ref)
        with blamed(card):  # files that the options name; most methods read none
            own = [resolve(card.fingerprint)(options, None)] if card.fingerprint else []
        return digest([card.full_name, plain_options(options), card_digest(card), core_digest(), *own])

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
                "method": self.code("explainer", cell.method),
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
            }
        )

    def score(self, metric: Ref, explanations: Iterable[str], cell: Cell) -> str:
        """Identity of the scores of a metric over these explanations."""
        roles = self.registry.roles(metric, "metric")
        return digest(
            {
                "contract": CONTRACT,
                "metric": self.code("metric", metric),
                "explanations": sorted(explanations),
                "models": {r: self.component("model", cell.models[r]) for r in roles if r in cell.models},
                "generator": self.component("generator", cell.generator) if cell.generator else None,
                "contrast": self.component("dataset", cell.contrast) if cell.contrast else None,
                "heldout": cell.budget.heldout,
            }
        )
