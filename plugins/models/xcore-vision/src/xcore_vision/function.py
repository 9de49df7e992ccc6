"""Python functions that users name, and the classifier ``python:MODULE:FUNCTION`` over one: a black box.

This module imports no torch, so that fingerprints can use it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xcore.contract import MissingError, UsageError, unknown
from xcore_vision.options import FunctionOptions

if TYPE_CHECKING:
    from xcore.models.classifiers import FunctionClassifier


def function_classifier(options: FunctionOptions, target: str) -> FunctionClassifier:
    """``python:MODULE:FUNCTION``: the function as a classifier without activations and gradients.

    The names of the classes come from the options, or from the function's attribute `classes`.

    Raises
    ------
    MissingError
        The module cannot be imported.
    UsageError
        The target does not name a function, or there are no names of classes.
    """
    from xcore.models.classifiers import FunctionClassifier

    function = import_function(target)
    classes = options.classes or getattr(function, "classes", None)
    if not classes:
        raise UsageError(
            f"the function {target} does not say what its classes are called",
            "set classes=..., or give the function an attribute `classes`",
        )
    return FunctionClassifier(function, classes, batch_size=options.batch_size)


def import_function(target: str) -> Any:
    """Import the function or class that ``package.module:function`` names; raises as `function_classifier` does."""
    module_name, name = split_function(target)
    with import_path():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            hint = "run xcore in its folder, or install it" if error.name in module_name.split(".") else ""
            raise MissingError(f"cannot import {module_name!r}: {error}", hint) from error
    if not hasattr(module, name):
        raise unknown(f"function in {module_name}:", name, [n for n in dir(module) if callable(getattr(module, n))])
    found = getattr(module, name)
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__}, not a function", "name a function of the module")
    return found


def split_function(text: str) -> tuple[str, str]:
    """Split ``package.module:function`` into its two parts."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise UsageError(f"{text!r} does not name a function", "write python:package.module:function")
    return module, name


@contextmanager
def import_path() -> Iterator[None]:
    """Make modules in the current folder importable, as ``python -m`` does."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
