"""A Python function as a classifier: a black box without activations and gradients."""

from __future__ import annotations

import importlib
from typing import Any

from xcore.classifier import FunctionClassifier
from xcore.errors import MissingError, UsageError, unknown
from xcore_vision.options import FunctionOptions
from xcore_vision.paths import import_path, split_function


def imported(target: str) -> Any:
    """The callable that ``package.module:function`` names."""
    module_name, name = split_function(target)
    with import_path():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            hint = "run from its folder, or install it" if error.name in module_name.split(".") else ""
            raise MissingError(f"cannot import {module_name!r}: {error}", hint) from error
    if not hasattr(module, name):
        raise unknown(f"function in {module_name}:", name, [n for n in dir(module) if callable(getattr(module, n))])
    found = getattr(module, name)
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__}, not a function")
    return found


def function_classifier(options: FunctionOptions, target: str) -> FunctionClassifier:
    """The classifier over a function; class names from the options or from the function's attribute `classes`."""
    function = imported(target)
    classes = options.classes or getattr(function, "classes", None)
    if not classes:
        raise UsageError(f"{target} names no classes", "set classes=..., or give the function an attribute `classes`")
    return FunctionClassifier(function, classes, batch_size=options.batch_size)
