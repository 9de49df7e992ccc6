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
        return getattr(import_module("xcore.api"), name)
    raise AttributeError(f"module 'xcore' has no attribute {name!r}")
