"""What kept results depend on: the code of the modules that compute them, found by following their imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from xcore.contract import digest, file_digest

_PACKAGE = Path(__file__).parent


@cache
def code_digest(*modules: str) -> str:
    """Digest of the code of modules of this package, and of all modules of the package that they need.

    A change of any other module leaves the digest as it was, so that what was trained or measured stays valid.

    Parameters
    ----------
    *modules
        Names inside the package, such as ``training``.
    """
    return digest([(name, file_digest(_PACKAGE / f"{name}.py")) for name in needed(*modules)])


def needed(*modules: str) -> tuple[str, ...]:
    """The modules themselves and all modules of this package that they import, directly or through others, sorted."""
    found: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _imports((_PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    return tuple(sorted(found))


def _imports(code: str) -> Iterator[str]:
    """The modules of this package that are imported anywhere in a piece of code."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            module = rest.partition(".")[0]
            if package == _PACKAGE.name and (_PACKAGE / f"{module}.py").is_file():
                yield module
