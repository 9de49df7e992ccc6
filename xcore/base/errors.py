"""What went wrong: one line that says what and where, a hint that says what to do, and an exit code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class XcoreError(Exception):
    """An error that a user can act on.

    Parameters
    ----------
    message
        What went wrong and where, in one line.
    hint
        The next step, in one line; empty if the message already says it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(XcoreError):
    """The request cannot be right: a name, an option, a suite key, a file."""

    exit_code = 2


class MissingError(XcoreError):
    """A plugin, a model or another prerequisite is not there."""

    exit_code = 3


class PluginError(XcoreError):
    """The code of a plugin raised what is none of these errors."""

    exit_code = 3


class NotApplicable(XcoreError):
    """The request is right but does not apply here: the cell is skipped, or the score is n/a, with this reason."""


class Halt(BaseException):
    """The core itself leaves a running cell early; what records the errors of plugins lets it pass."""


def message_of(error: BaseException) -> str:
    """What an error says; "" for one of a plugin that cannot even say it."""
    try:
        return str(error).strip()
    except Exception:  # its own `__str__` fails
        return ""


def in_one_line(error: BaseException) -> str:
    """The type of an error and the first line of what it says."""
    said = message_of(error)
    return f"{type(error).__name__}: {said.splitlines()[0]}" if said else type(error).__name__


def listed(names: Sequence[str]) -> str:
    """The first 12 names for a message; in quotes if one of them has a comma itself."""
    shown = [repr(n) for n in names[:12]] if any("," in n for n in names[:12]) else names[:12]
    return ", ".join(shown) + (", ..." if len(names) > 12 else "")


def unknown(
    what: str, name: str, known: Iterable[str], error: type[XcoreError] = UsageError, more: str = ""
) -> XcoreError:
    """Build the error for a name that is not known, with the nearest valid one, and what else may help.

    Examples
    --------
    >>> str(unknown("method", "carft", ["craft", "rlpo"]))
    "unknown method 'carft' (did you mean 'craft'?)"
    """
    from difflib import get_close_matches  # late: most runs have no wrong name

    names = sorted(known)
    folded = {n.casefold(): n for n in reversed(names)}
    # Of a thousand classes one is always half alike: below this, the nearest name is chance ('Hund': 'sundial').
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        hint = f"did you mean {folded[near[0]]!r}?"
    elif names:
        hint = f"known: {listed(names)}"
    else:
        hint = "none is installed"
    return error(f"unknown {what} {name!r}", f"{hint}; {more}" if more else hint)
