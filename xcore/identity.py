"""What identifies an explanation and a score: explain once, score many times.

A digest of the source that a component imports stands for it, since a version alone would let every edit during
development pass for the old result. Models are identified by the fingerprint on their card, so nothing is loaded.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from xcore.registry import FILE_MODULE, Card, Registry, blamed, resolve
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
    "lora",
    "pretrained",
    "probe",
    "samples",
    "task",
    "torchmodel",
    "types",
    "words",
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

    Imports count wherever they stand, and so do strings that name a module (``package.module:name``). The package of a
    plugin file is its folder. A name that is put together while the code runs is not seen.
    """
    return digest([_code_digest(_module(target)) for target in (card.factory, card.options) if target])


def _module(target: Any) -> str:
    """The module in which a factory or options are defined."""
    while isinstance(target, partial):
        target = target.func
    name: str = target.partition(":")[0] if isinstance(target, str) else target.__module__
    return name


@cache
def _code_digest(start: str) -> str:
    own = start.partition(".")[0]
    file = _module_file(own) if own.startswith(FILE_MODULE) else None
    found: dict[str, Path] = {}
    queue = [start]
    while queue:
        name = queue.pop()
        top = name.partition(".")[0]
        ours = top == own or top.startswith("xcore_")
        if name in found or not (ours or (file and _beside(file, top))) or (path := _module_file(name)) is None:
            continue
        if not ours and file and not path.is_relative_to(file.parent):
            continue
        found[name] = path
        queue += [*_imported(name, path), *([name.rpartition(".")[0]] if "." in name else [])]
    data = [
        tree_digest(path.parent, (".json", ".toml")) for name, path in sorted(found.items()) if _is_root(name, path)
    ]
    return digest([start, [(name, file_digest(path)) for name, path in sorted(found.items())], data])


def _is_root(name: str, path: Path) -> bool:
    return "." not in name and path.name == "__init__.py"


def _beside(file: Path, top: str) -> bool:
    """Whether a module lies beside a plugin file; the core has a digest of its own."""
    return top != "xcore" and ((file.parent / f"{top}.py").is_file() or (file.parent / top).is_dir())


def _module_file(name: str) -> Path | None:
    """The source of a module, found without importing it; None if there is no such module."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return Path(spec.origin) if spec is not None and spec.origin and not rest else None
    paths = [Path(place, *rest) for place in spec.submodule_search_locations]  # several in a namespace package
    return next((p for path in paths for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


_NAMED = re.compile(r"(?=[^:]*\.)(\.*)([^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::\w+)?")


def _imported(name: str, path: Path) -> Iterator[str]:
    """Names that a module imports anywhere in its code, or spells out; some are not modules but what is in them."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def absolute(level: int, rest: str) -> str:
        above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
        return ".".join([*above, *([rest] if rest else [])])

    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.level, node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and (named := _NAMED.fullmatch(str(node.value))):
            yield absolute(len(named[1]), named[2])


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
