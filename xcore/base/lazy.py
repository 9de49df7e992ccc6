"""Public names that are imported when they are first used, so that importing a package stays cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from sys import modules
from typing import Any


def lazy_exports(
    package: str, homes: Mapping[str, Sequence[str]], other: Callable[[str], Any] = lambda name: None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package that offers names of other modules (PEP 562).

    Parameters
    ----------
    package
        Its ``__name__``.
    homes
        Module -> the names that it defines and the package offers.
    other
        Name -> what the package offers beside, None = nothing.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        found = getattr(import_module(home[name]), name) if name in home else other(name)
        if found is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(modules[package], name, found)
        return found

    return get, lambda: sorted({*home, *vars(modules[package])})
