"""Files beside a model, and import names as users write them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xcore.errors import UsageError


def sidecar(path: Path) -> Path | None:
    """The JSON file beside a model file, ``model.json`` for ``model.safetensors``, if there is one."""
    beside = path.with_suffix(".json")
    return beside if beside.is_file() else None


def split_function(text: str) -> tuple[str, str]:
    """``package.module:function`` as its two parts."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise UsageError(f"{text!r} does not name a function", "write python:package.module:function")
    return module, name


@contextmanager
def import_path() -> Iterator[None]:
    """The current folder can be imported from, as with ``python -m``."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
