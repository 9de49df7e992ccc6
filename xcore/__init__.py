"""xcore: explanation methods as plugins, compared honestly with one command.

The names below are loaded when they are first used, so that `import xcore` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from xcore.api import bench, explain

__version__ = "0.1.0"
__all__ = ["__version__", "bench", "explain", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name in ("bench", "explain"):
        api = import_module("xcore.api")
        # Kept here, since importing the module `xcore.bench` puts it in the function's place.
        globals().update(bench=api.bench, explain=api.explain)
        return globals()[name]
    raise AttributeError(f"module 'xcore' has no attribute {name!r}")
