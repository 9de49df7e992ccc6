"""The names that plugins import: type checkers and Python find the same ones, and importing the package is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGES = ("xcore", "xcore.contract", "xcore.session")


def tree(module: ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def for_type_checkers(module: ModuleType) -> dict[str, set[str]]:
    """Home -> the names that a module exports under TYPE_CHECKING, as ``from HOME import NAME as NAME``."""
    found: dict[str, set[str]] = {}
    for node in tree(module).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                names = {alias.name for alias in line.names if alias.asname == alias.name}
                if names:
                    found.setdefault(str(line.module), set()).update(names)
    return found


def at_runtime(module: ModuleType) -> dict[str, tuple[str, ...]]:
    """Home -> the names that a module passes to `lazy_exports`."""
    calls = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if ast.unparse(node.func) == "lazy_exports"]
    homes: Any = eval(ast.unparse(call.args[1]), dict(vars(module)))
    assert homes
    return dict(homes)


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_and_python_see_the_same_names(package: str) -> None:
    module = import_module(package)
    homes = at_runtime(module)
    assert {home: set(names) for home, names in homes.items()} == for_type_checkers(module)
    assert {name: n for name, n in Counter(n for names in homes.values() for n in names).items() if n > 1} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_can_be_imported(package: str) -> None:
    module = import_module(package)
    for home, names in at_runtime(module).items():
        for name in names:
            assert getattr(module, name) is getattr(import_module(home), name)
            assert name in dir(module)


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_loads_no_heavy_library(package: str) -> None:
    """In a fresh process; each name loads its own module when it is first used."""
    heavy = {"torch", "pydantic", "numpy"}
    code = f"import {package}, sys; print(sorted(set(sys.modules) & {heavy}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_data_and_protocols_load_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from xcore.contract import Concept, Explanation, Samples, Score, Task, Run, Captioner, hookimpl, UsageError\n"
        "print(sorted(set(sys.modules) & {'torch', 'pydantic', 'numpy'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'xcore\.contract' has no attribute 'Expanation'"):
        import_module("xcore.contract").Expanation  # noqa: B018
