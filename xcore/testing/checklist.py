"""The list of checks: one for `xcore check` and for the test classes. This module imports neither pytest nor torch.

A check is a function that takes the subject of its kind (such as `Explaining`), returns where all is well, and raises
`Fault` or `Skipped` where it is not. Its name, the first line of its docstring (what it checks), why it matters and how
to mend it are what a reader of a failure is told.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xcore.base.errors import MissingError, NotApplicable, message_of

MODULES = {
    "explainer": "explainers",
    "metric": "metrics",
    "generator": "generators",
    "classifier": "classifiers",
    "dataset": "datasets",
    "model": "roles",
    "engine": "engines",
    "tracker": "trackers",
    "rendering": "renderings",
    "command": "commands",
    "options": "options",
}
"""Kind -> the module of this room that holds its checks."""
HARM = "harm"
"""The module that holds the checks of several kinds."""


class Fault(AssertionError):
    """What is wrong with a component, in a line or a few."""


class Skipped(Exception):
    """Why a check says nothing about a component."""


@dataclass(frozen=True)
class Check:
    """One check of one kind of component."""

    kind: str
    name: str
    what: str
    """What is true of a component that passes."""
    why: str
    """Why it matters, in one sentence."""
    mend: str
    """What an author does about it, in one sentence."""
    run: Callable[[Any], None]


@dataclass(frozen=True)
class Result:
    """How one check of one component ended."""

    component: str
    check: str
    status: str
    """passed, failed or skipped."""
    reason: str = ""
    """What is wrong, or why it was skipped."""
    why: str = ""
    mend: str = ""


_CHECKS: dict[str, list[Check]] = {}


def check(*kinds: str, why: str, mend: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Add a function to the checks of one kind or of several."""

    def add(function: Callable[[Any], None]) -> Callable[[Any], None]:
        what = (function.__doc__ or "").strip().splitlines()[0].rstrip(".")
        for kind in kinds:
            _CHECKS.setdefault(kind, []).append(Check(kind, function.__name__, what, why, mend, function))
        return function

    return add


def checks_of(kind: str) -> tuple[Check, ...]:
    """The checks of a kind of component, in the order in which they are run: its own, then those of several kinds."""
    for module in (MODULES[kind], HARM):
        importlib.import_module(f"xcore.testing.{module}")
    return tuple(sorted(_CHECKS[kind], key=lambda one: one.run.__module__ == f"xcore.testing.{HARM}"))


def expect(holds: object, fault: str) -> None:
    """Raise `Fault` unless something holds."""
    if not bool(holds):
        raise Fault(fault)


@contextmanager
def refused(what: str, *kinds: type[BaseException], says: str = "") -> Iterator[None]:
    """Raise `Fault` unless the block raises one of these errors, in one line that says this."""
    try:
        yield
    except kinds as error:
        expect("\n" not in str(error), f"the error for {what} has several lines: {str(error)!r}")
        expect(says in str(error), f"the error for {what} does not say {says!r}: {error}")
        return
    named = " or ".join(kind.__name__ for kind in kinds)
    raise Fault(f"{what} is accepted; it must raise {named}")


def run_check(one: Check, subject: Any, component: str) -> Result:
    """Run a check; what it raises is its result, so that the others are run, too."""
    try:
        one.run(subject)
    except (Skipped, NotApplicable, MissingError) as error:
        return Result(component, one.name, "skipped", str(error))
    except Fault as error:
        return Result(component, one.name, "failed", str(error), one.why, one.mend)
    except Exception as error:
        return Result(component, one.name, "failed", _told(error), one.why, one.mend)
    return Result(component, one.name, "passed")


def _told(error: Exception) -> str:
    """What a component raised, with the last line of the traceback that is not of the core."""
    lines = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] != "xcore"
    ]
    where = f", at {lines[-1]}" if lines else ""
    return f"it raised {type(error).__name__}: {message_of(error)}{where}"
