"""Options of the method `surrogate` that the commands do not read. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xcore.contract import UsageError

METHOD = "surrogate"
UNUSED: Mapping[str, str] = {
    "alpha": "marks are made at 0.05 after Holm's correction, and the files have the p-values",
    "minimum": "the files have the effects with their intervals, to be compared with a bound of your own",
    "shown": "the pictures show as many samples as there is room for",
}
"""Option of the method -> why no command needs it."""


def refuse_unused(given: Iterable[str], more: Mapping[str, str] | None = None) -> None:
    """Raise `UsageError` for an option of `surrogate` that would change nothing.

    Parameters
    ----------
    given
        Names of the options that a user gave.
    more
        Further ones that this command does not read -> what to do instead.
    """
    hints = {**UNUSED, **(more or {})}
    for name in given:
        if name in hints:
            raise UsageError(f"{METHOD}.{name} is not used here", hints[name])
